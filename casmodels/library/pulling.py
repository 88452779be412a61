"""Pulling: from what the user named to a version in the store."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from casmodels.addresses import HubModel, LocalModel, ShortName, UrlModel, parse_model
from casmodels.errors import InterruptedPullError, MissingUpstreamError, NameTakenError, UnknownModelError
from casmodels.families import FAMILIES
from casmodels.library.context import Context
from casmodels.library.download_log import log_result, logged
from casmodels.library.names import check_own_name, newest
from casmodels.library.options import PullOptions
from casmodels.progress import Progress, SilentProgress
from casmodels.results import ErrorResult, PullResult, PullStatus
from casmodels.revisions import MAIN
from casmodels.specs import ModelSpec
from casstore.catalog import Reader
from casstore.digests import BLAKE3, Digest
from casstore.errors import InvalidInputError, StoreError, UnusableStoreError
from casstore.refs import RefKind
from casstore.store import Store as Engine

if TYPE_CHECKING:
    from casmodels.cancellation import Cancellation
    from casmodels.downloads import Downloader
    from casmodels.library.reports import DownloadReport
    from casmodels.log_files import LogFiles

DEFAULT_WORKERS = 4


@dataclass(frozen=True, slots=True)
class Request:
    """What to pull: what it is called in the result, the MODEL that it means, and how."""

    model: str
    address: str
    options: PullOptions


@dataclass(frozen=True, slots=True)
class Pull:
    """One model's pull: what the user calls it and what that means, what they asked for, the engine to work with, who
    is told, who may cancel it."""

    context: Context
    engine: Engine
    model: str
    address: str
    options: PullOptions
    workers: int
    initializer: Callable[[], None] | None
    progress: Progress
    cancellation: Cancellation | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        return self.cancellation is not None and self.cancellation.is_asked

    def heed(self, _done_bytes: int = 0) -> None:
        """Raise InterruptedPullError once it is cancelled; work that takes long reports to this as it goes on."""
        if self.cancellation is not None:
            self.cancellation.check()

    def heeded(self, progress: Progress) -> Progress:
        """A progress whose tasks `heed`."""
        return self.cancellation.heeded(progress) if self.cancellation is not None else progress

    @contextlib.contextmanager
    def downloader(self, workers: int, report: DownloadReport) -> Iterator[Downloader]:
        """What fetches its files, into the store's partial files."""
        from casmodels.downloads import Downloader

        with contextlib.ExitStack() as stack:
            downloader = stack.enter_context(
                Downloader(
                    self.engine.layout.downloads,
                    workers=workers,
                    initializer=self.initializer,
                    progress=report.advance,
                )
            )
            if self.cancellation is not None:
                stack.enter_context(self.cancellation.waking(partial(downloader.cancel, discard=True)))
            yield downloader


def pull(
    context: Context,
    models: Sequence[str],
    options: PullOptions,
    progress: Progress | None,
    cancellation: Cancellation | None = None,
) -> list[PullResult]:
    """Pull models one after the other. Raises as `pull_all`."""
    wanted = [spec.id for spec in context.registry if spec not in FAMILIES] if options.all_models else models
    return pull_all(context, [Request(model, model, options) for model in wanted], options, progress, cancellation)


def pull_all(
    context: Context,
    requests: Sequence[Request],
    options: PullOptions,
    progress: Progress | None,
    cancellation: Cancellation | None = None,
) -> list[PullResult]:
    """Pull one after the other; what fails is a result with an error, and the next one is tried.

    ``options`` say what is the same for all. Raises what makes all further work senseless: UnusableStoreError,
    InterruptedPullError, and InvalidInputError for a directory with the store inside.
    """
    local = _local_paths(request.address for request in requests)
    _refuse_store_inside(context, local)
    offline = options.offline or context.config.offline
    workers, coders, initializer = threads_of(context, options)
    logs = context.logs if not options.dry_run else None
    told = logged(progress, logs)
    results = []
    create = not options.dry_run and (not offline or bool(local))
    with context.working_engine(coders, initializer, create=create) as engine:
        for request in requests:
            one = Pull(
                context=context,
                engine=engine,
                model=request.model,
                address=request.address,
                options=replace(request.options, offline=offline),
                workers=workers,
                initializer=initializer,
                progress=told,
                cancellation=cancellation,
            )
            one.heed()
            results.append(_pull_logged(replace(one, progress=one.heeded(one.progress)), logs))
    return results


def threads_of(context: Context, options: PullOptions) -> tuple[int, int | None, Callable[[], None] | None]:
    """How many files at once, how many coders (None: one per core), and what each thread begins with."""
    from casmodels.runtime.priority import thread_initializer

    config = context.config
    low_priority = config.low_priority if options.low_priority is None else options.low_priority
    workers = options.workers or config.workers
    return workers or DEFAULT_WORKERS, 1 if workers == 1 else None, thread_initializer() if low_priority else None


def _local_paths(models: Iterable[str]) -> list[Path]:
    """Those of these models that lie on this machine."""
    found = []
    for model in models:
        with contextlib.suppress(InvalidInputError):  # its turn to be refused comes
            parsed = parse_model(model)
            if isinstance(parsed, LocalModel):
                found.append(parsed.path)
    return found


def _refuse_store_inside(context: Context, paths: Iterable[Path]) -> None:
    """Look before a store is made: it must not come to lie in a directory that is to be saved."""
    from casmodels.sources.local import refuse_overlap

    for path in paths:
        refuse_overlap(Path.cwd() / path, context.path)


def _pull_logged(pull: Pull, logs: LogFiles | None) -> PullResult:
    try:
        result = _pull_one(pull)
    except StoreError as error:  # what ends all further work is logged, too
        if logs is not None:
            log_result(logs, _failed(pull, error))
        raise
    if logs is not None:
        log_result(logs, result)
    return result


def _failed(pull: Pull, error: StoreError) -> PullResult:
    failure = ErrorResult(error.kind, error.message, error.remedy)
    return PullResult(pull.model, None, PullStatus.FAILED, error=failure)


def _pull_one(pull: Pull) -> PullResult:
    begun = time.monotonic()
    path = None
    try:
        result = _dispatch(pull)
        path = _path_in_view(pull, result)
    except (UnusableStoreError, InterruptedPullError):
        raise
    except StoreError as error:
        result = _failed(pull, error)
    return replace(result, path=path, seconds=time.monotonic() - begun)


def _path_in_view(pull: Pull, result: PullResult) -> str | None:
    if result.name is None or result.version is None:
        return None
    from casmodels.library.viewing import make_snapshot, snapshot_in_view

    if pull.options.view and not pull.options.dry_run:
        target = f"{result.name}@{result.version}"
        return make_snapshot(pull.context, pull.engine, target, pull.heeded(SilentProgress()))
    with pull.engine.reading() as reader:
        return snapshot_in_view(pull.engine.places, reader, result.name, Digest.parse(result.version, default=BLAKE3))


def _dispatch(pull: Pull) -> PullResult:
    model = parse_model(pull.address)
    match model:
        case UrlModel():
            from casmodels.library.pulling_files import pull_url

            return pull_url(pull, model)
        case LocalModel(path):
            from casmodels.library.pulling_files import pull_local

            return pull_local(pull, path)
        case HubModel(repo, revision, explicit):
            return _pull_repo(pull, repo, revision, own=not explicit)
        case ShortName(name, revision):
            spec = pull.context.registry.find(name)
            if spec is not None and not _is_own(pull, name):
                return _pull_repo(_only_files(pull, spec), spec.huggingface_id, revision, own=False)
            return _pull_short(pull, name, revision)


def _only_files(pull: Pull, spec: ModelSpec) -> Pull:
    """A pull of the files that a spec names, unless the user chooses others."""
    options = pull.options
    if options.include or options.exclude or options.all_files or options.files:
        return pull
    return replace(pull, options=replace(options, files=spec.files))


def _is_own(pull: Pull, name: str) -> bool:
    """Whether versions are kept under that very name: as everywhere, they are meant, whatever the registry says."""
    with pull.engine.reading() as reader:
        return newest(reader, name) is not None


def _pull_short(pull: Pull, name: str, revision: str | None) -> PullResult:
    """A name of the user's own, or else a Hub id without an organisation, which only the Hub can tell."""
    try:
        return _pull_repo(pull, name, revision, own=True)
    except MissingUpstreamError as error:
        if revision is not None or pull.options.revision is not None:
            raise
        with pull.engine.reading() as reader:
            known = {ref.key.name for ref in reader.refs(RefKind.VERSION)}
        raise UnknownModelError(name, pull.context.registry.nearest(name, known)) from error


def _pull_repo(pull: Pull, repo: str, revision: str | None, *, own: bool) -> PullResult:
    from casmodels.library.pulling_hub import HubPull

    given = pull.options.revision
    if given is not None and revision is not None and given != revision:
        raise InvalidInputError(f"{pull.model} names one revision and --revision {given} another")
    wanted = given or revision or MAIN
    name = pull.options.name
    with pull.engine.reading() as reader:
        if pull.options.listed and newest(reader, pull.model) is not None:
            name = pull.model  # a name of the user's own, which comes before the registry's
        if own and name is None:
            kept = newest(reader, repo)
            if kept is not None and kept.version.metadata.get("kind") != "hub":
                is_url = kept.version.metadata.get("kind") == "url"
                if is_url or not pull.options.offline or wanted != MAIN:
                    return _pull_own(pull, kept.version.metadata, kept.version.source)
            if kept is not None and kept.version.metadata.get("repo") not in (None, repo):
                name, repo = repo, kept.version.metadata["repo"]
        if name is not None and name != repo:
            check_pull_name(reader, pull, name, repo)
    return HubPull(pull, repo, wanted, name or repo).run()


def _pull_own(pull: Pull, metadata: dict[str, object], source: str) -> PullResult:
    if metadata.get("kind") == "url":
        from casmodels.library.pulling_files import pull_url

        return pull_url(replace(pull, options=replace(pull.options, name=pull.model)), UrlModel(source))
    raise InvalidInputError(
        f"{pull.model!r} is a name of your own, saved from {source}: there is nothing to pull",
        remedy=f"`casmodels checkout {pull.model}` writes it out",
    )


def check_pull_name(reader: Reader, pull: Pull, name: str, origin: str) -> None:
    """Raise NameTakenError when `--name` is taken by something that comes from elsewhere."""
    kept = newest(reader, name)
    if kept is not None and origin in (kept.version.metadata.get("repo"), kept.version.source):
        return
    listed = pull.options.listed
    if not listed:
        check_own_name(reader, pull.context.registry, name)
    if kept is not None:
        raise NameTakenError(
            f"the name {name!r} is taken by versions from {kept.version.source}",
            remedy="rename the entry" if listed else "choose another with --name",
        )


def redownload(context: Context, model: str, options: PullOptions, progress: Progress | None) -> list[PullResult]:
    """Fetch every file of a model again; what differs or is damaged is replaced."""
    from casmodels.library.names import find
    from casstore.maintenance import repair, verify

    engine = context.existing()
    if engine is not None:
        with engine.reading() as reader:
            try:
                found = find(reader, context.registry, model)
            except StoreError:
                found = None
            if found is not None:
                refs = [ref for ref in reader.refs(RefKind.VERSION, found.name) if ref.target == found.id]
                repair.set_aside(engine.engine, verify.check(engine.engine, refs, data=True))
    return pull(context, [model], replace(options, force=True), progress)
