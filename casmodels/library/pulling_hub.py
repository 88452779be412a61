"""Pulling a repo of the Hub."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from glob import escape
from typing import Any

from casmodels.config import HUB_ENDPOINT
from casmodels.downloads import Download, Downloaded
from casmodels.errors import MissingUpstreamError, OfflineError, WrongBytesError
from casmodels.library.model_types import type_metadata
from casmodels.library.names import Found, newest, readable, versions_of
from casmodels.library.options import PullOptions
from casmodels.library.presence import has_all, upstream_files
from casmodels.library.pulling import Pull
from casmodels.library.reports import DownloadReport
from casmodels.licences import licence_warning
from casmodels.results import LeftOut, PullResult, PullStatus
from casmodels.revisions import asked_for
from casmodels.sources.hub import HubSource
from casmodels.sources.listing import HubListing, Selection, UpstreamFile
from casmodels.sources.selection import select_files
from casmodels.sources.weights import format_of
from casmodels.views.targets import alone
from casstore.catalog import Reader
from casstore.digests import SHA256, Digest
from casstore.errors import DamagedError, FullError, InvalidInputError, NotFoundError, StoreError
from casstore.refs import RefKey, RefKind
from casstore.transactions import Transaction
from casstore.trees import Entry, Tree
from casstore.versions import Version

_COMMIT_BYTES = 64 << 20
"""So many fetched bytes are committed at a time, under refs of the pull's own, so that a kill loses no more."""
_SHOWN_PATHS = 5


class HubPull:
    """One pull of one repo at one revision into one name."""

    def __init__(self, pull: Pull, repo: str, revision: str, name: str) -> None:
        self._pull = pull
        self._repo = repo
        self._revision = revision
        self._name = name
        config = pull.context.config
        mirrors = [endpoint.url for endpoint in config.endpoints if endpoint.mirror]
        token = None if pull.options.offline else config.token()
        self._hub = HubSource(
            None if config.endpoint == HUB_ENDPOINT else config.endpoint,
            token=token.reveal() if token is not None else None,
            mirror=mirrors[0] if mirrors else None,
            offline=pull.options.offline,
            cancellation=pull.cancellation,
        )
        self._report = DownloadReport(pull.progress, pull.model)
        self._waiting: list[Downloaded] = []
        self._promised: tuple[str, Digest] | None = None
        self._downloaded_bytes = 0

    def run(self) -> PullResult:
        """Pull. Raises the errors of `HubSource` and `Downloader`, FullError, and what the engine raises."""
        if self._pull.options.checksum is not None:
            self._promised = promised_file(self._repo, self._pull.options)
        if self._pull.options.offline:
            return self._offline()
        resolved = self._hub.resolve(self._repo, self._revision)
        if not self._pull.options.force:
            with self._pull.engine.reading() as reader:
                complete = self._complete_version(reader, resolved.commit)
                if complete is not None:
                    return self._cached(reader, complete)
        listing = self._hub.listing(resolved)
        selection = self._select(listing.files)
        warnings = self._warnings(listing)
        self._check_promise({file.path: file.digest for file in selection.chosen if file.lfs_sha256 is not None})
        with self._pull.engine.writing() as transaction:
            wanted = [file for file in selection.chosen if self._must_fetch(transaction, file)]
            if self._pull.options.dry_run:
                return self._result(listing, selection, None, sum(file.size_bytes for file in wanted), 0, warnings)
            self._check_space(wanted)
            for name in (self._name, *listing.base_models):
                related = newest(transaction, name)
                if related is not None:
                    transaction.came_from(related.id)
            try:
                fetched = self._fetch(transaction, listing, wanted)
                with alone(self._pull.engine.layout.downloads):
                    # One at a time: another pull of the same commit may be about to make the same version.
                    version = self._save(transaction, listing, selection, fetched)
                self._discard()
            except BaseException:
                self._leave(transaction)
                raise
            stored_bytes = transaction.added_bytes
            return self._result(listing, selection, version, self._downloaded_bytes, stored_bytes, warnings)

    def _warnings(self, listing: HubListing) -> tuple[str, ...]:
        """What the result warns of; of the licence also now, before a byte of the model is fetched."""
        warning = licence_warning(listing.licence)
        if warning is None:
            return listing.warnings
        self._report.warn(warning)
        return (*listing.warnings, warning)

    def _select(self, files: Iterable[UpstreamFile]) -> Selection:
        options = self._pull.options
        listed = tuple(files)
        missing = set(options.files) - {file.path for file in listed}
        if missing:
            raise MissingUpstreamError(
                f"{self._repo} has no file {min(missing)!r}", remedy="see what it has with `casmodels pull --dry-run`"
            )
        include = [escape(path) for path in options.files] or options.include
        selection = select_files(listed, include, options.exclude, all_files=options.all_files)
        if listed and not selection.chosen:
            raise MissingUpstreamError(
                f"no file of {self._repo} matches what --include and --exclude ask for",
                remedy="patterns are those of a shell, such as '*.safetensors'",
            )
        return selection

    def _check_promise(self, blobs: Mapping[str, Digest]) -> None:
        """Raise WrongBytesError when the file that the user has a checksum of is, as far as is known, another."""
        if self._promised is None:
            return
        path, expected = self._promised
        actual = blobs.get(path, expected)
        if actual != expected:
            raise WrongBytesError(
                f"{path} of {self._repo} has the digest {actual}, not {expected}",
                remedy="the repo has changed, or the checksum is of another file: check where it comes from",
            )

    def _complete_version(self, reader: Reader, commit: str | None) -> Found | None:
        """The newest version of that commit that has all files wanted.

        None: of the revision that was asked for, wherever it came from.
        """
        for found in readable(reader, self._name):
            version = found.version
            if commit is not None and "upstream_files" not in version.metadata:
                continue  # it was taken in from a folder: nobody has seen yet what belongs to it
            asked = (asked_for(version), version.revision)
            if version.revision != commit if commit is not None else self._revision not in asked:
                continue
            if self._pull.options.model_type not in (None, version.metadata.get("type")):
                continue
            try:
                tree = reader.tree(version.tree)
            except (DamagedError, NotFoundError):
                continue  # what is pulled is stored again, the tree with it
            listed = upstream_files(version.metadata)
            wanted = [file.path for file in self._select(listed).chosen] if listed else self._pull.options.files
            if all(path in tree.by_path for path in wanted) and has_all(reader, tree):
                self._check_promise({entry.path: entry.blob for entry in tree.files if entry.blob is not None})
                return found
        return None

    def _must_fetch(self, reader: Reader, file: UpstreamFile) -> bool:
        if self._pull.options.force or file.digest is None:
            return True
        found = reader.find_blob(file.digest) is not None
        if found:
            self._report.log(file.path, "cached", file.size_bytes)
        return not found

    def _check_space(self, wanted: list[UpstreamFile]) -> None:
        """Room for everything stored raw, at worst, and for the files that lie beside it unfinished meanwhile."""
        largest = sorted((file.size_bytes for file in wanted), reverse=True)
        needed = sum(largest) + sum(largest[: self._pull.workers + 2])
        free = shutil.disk_usage(self._pull.engine.path).free
        if needed > free:
            raise FullError(
                f"{self._repo} needs up to {needed / 2**20:.1f} MiB at {self._pull.engine.path}, and only "
                f"{free / 2**20:.1f} MiB are free",
                remedy="free some space, or choose files with --include",
            )

    def _fetch(
        self, transaction: Transaction, listing: HubListing, wanted: list[UpstreamFile]
    ) -> dict[str, tuple[Digest, int]]:
        """Download and store files; gives what each path's blob is. The first failure is raised when all were tried."""
        progress = self._pull.progress
        progress.expect(len(wanted), sum(file.size_bytes for file in wanted))
        files: dict[str, list[UpstreamFile]] = {}
        downloads: dict[str, Download] = {}
        # Models of ONNX first: they say where tensors lie in other files.
        for file in sorted(wanted, key=lambda file: not file.path.endswith(".onnx")):
            still_needed = None if self._pull.options.force else partial(self._is_missing, transaction, file)
            download = self._hub.download(listing, file, still_needed)
            files.setdefault(download.key, []).append(file)
            downloads[download.key] = download
        fetched: dict[str, tuple[Digest, int]] = {}
        failure: StoreError | None = None
        with (
            self._pull.downloader(self._pull.workers, self._report) as downloader,
            contextlib.closing(downloader.fetch_all(downloads.values())) as outcomes,
        ):
            for outcome in outcomes:
                twins = files[outcome.download.key]
                self._report.end(outcome.download)
                if outcome.error is not None:
                    self._pull.heed()
                    failure = failure or outcome.error
                    self._report.log(twins[0].path, "failed", twins[0].size_bytes, error=outcome.error.message)
                elif outcome.downloaded is not None:
                    self._waiting.append(outcome.downloaded)
                    blob = self._store(transaction, twins[0], outcome.downloaded)
                    fetched.update({file.path: (blob, outcome.downloaded.size_bytes) for file in twins})
                    if sum(done.size_bytes for done in self._waiting) >= _COMMIT_BYTES:
                        transaction.commit()
                        self._discard()
        if failure is not None:
            transaction.commit()
            self._discard()
            raise failure
        return fetched

    def _leave(self, transaction: Transaction) -> None:
        """Keep what is downloaded for the next run; but nothing, if this one was cancelled."""
        while self._waiting:
            downloaded = self._waiting.pop()
            if self._pull.is_cancelled:
                downloaded.withdraw()
            else:
                downloaded.release()
        if self._pull.is_cancelled:
            with contextlib.suppress(StoreError):  # gc ends the protection of what nobody works on, too
                transaction.withdraw()

    def _discard(self) -> None:
        """Only when the store has the bytes for good may the downloaded files go."""
        while self._waiting:
            self._waiting.pop().discard()

    def _store(self, transaction: Transaction, file: UpstreamFile, downloaded: Downloaded) -> Digest:
        self._downloaded_bytes += downloaded.downloaded_bytes
        stored = transaction.add_file(
            downloaded.path, file.path, expect=file.digest or downloaded.sha256, progress=self._pull.heed
        )
        transaction.keep(stored.info)
        self._report.log(file.path, "completed", downloaded.size_bytes, downloaded.seconds)
        return stored.info.sha256

    def _is_missing(self, reader: Reader, file: UpstreamFile) -> bool:
        return file.digest is None or reader.find_blob(file.digest) is None

    def _save(
        self,
        transaction: Transaction,
        listing: HubListing,
        selection: Selection,
        fetched: Mapping[str, tuple[Digest, int]],
    ) -> Found:
        entries = {}
        for file in selection.chosen:
            blob, size_bytes = fetched.get(file.path) or self._kept(transaction, file)
            entries[file.path] = Entry.file(file.path, blob, size_bytes)
        self._check_promise({path: entry.blob for path, entry in entries.items() if entry.blob is not None})
        before = _newest_of(transaction, self._name, listing.commit)
        if before is not None:
            # A second pull with other patterns adds to what the first one brought, as in the Hub's own cache; but what
            # is lost by now cannot be added.
            for entry in _whole_files(transaction, before.version.tree):
                entries.setdefault(entry.path, entry)
        refs = versions_of(transaction, self._name)
        tree = transaction.add_tree(Tree.of(entries.values()))
        metadata = self._metadata(listing) | type_metadata(transaction, self._name, self._pull.options.model_type)
        if before is not None and before.version.tree == tree and before.version.metadata == metadata:
            transaction.let_go()
            transaction.commit()
            return before
        version = Version(
            tree=tree,
            parent=refs[-1].target if refs else None,
            source=f"hf://{self._repo}",
            created_ns=time.time_ns(),
            metadata=metadata,
        )
        digest = transaction.add_version(version)
        transaction.set_ref(RefKey(RefKind.VERSION, self._name, digest.hex), digest)
        transaction.let_go()
        transaction.commit()
        return Found(self._name, digest, version)

    def _kept(self, reader: Reader, file: UpstreamFile) -> tuple[Digest, int]:
        info = reader.find_blob(file.digest) if file.digest is not None else None
        if info is None:
            raise MissingUpstreamError(f"{file.path} of {self._repo} did not arrive", remedy="pull again")
        return info.sha256, info.size_bytes

    def _metadata(self, listing: HubListing) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "kind": "hub",
            "name": self._name,
            "repo": self._repo,
            "revision": listing.commit,
            "requested_revision": self._revision,
            "vouched_by": listing.vouched_by,
            "upstream_files": {file.path: file.as_metadata() for file in listing.files},
        }
        card = {
            "licence": listing.licence,
            "base_models": list(listing.base_models),
            "tags": list(listing.tags),
            "library": listing.library,
            "pipeline_tag": listing.pipeline_tag,
        }
        return metadata | {key: value for key, value in card.items() if value}

    def _offline(self) -> PullResult:
        with self._pull.engine.reading() as reader:
            complete = self._complete_version(reader, None)
            if complete is None:
                raise OfflineError(
                    f"{self._repo} is not here, and the network is not to be used",
                    remedy="run without --offline and HF_HUB_OFFLINE",
                )
            return self._cached(reader, complete)

    def _cached(self, reader: Reader, found: Found) -> PullResult:
        tree = reader.tree(found.version.tree)
        listed = upstream_files(found.version.metadata)
        return PullResult(
            model=self._pull.model,
            repo=self._repo if found.version.metadata.get("kind") == "hub" else None,
            status=PullStatus.CACHED,
            name=found.name,
            version=found.id.hex,
            revision=found.version.revision,
            files=len(tree.files),
            left_out=_left_out(self._select(listed)) if listed else LeftOut(),
            size_bytes=tree.size_bytes,
            vouched_by=found.version.metadata.get("vouched_by"),
        )

    def _result(
        self,
        listing: HubListing,
        selection: Selection,
        version: Found | None,
        downloaded_bytes: int,
        stored_bytes: int,
        warnings: tuple[str, ...],
    ) -> PullResult:
        return PullResult(
            model=self._pull.model,
            repo=self._repo,
            status=PullStatus.COMPLETED,
            name=self._name,
            version=version.id.hex if version is not None else None,
            revision=listing.commit,
            files=len(selection.chosen),
            left_out=_left_out(selection),
            size_bytes=sum(file.size_bytes for file in selection.chosen),
            downloaded_bytes=downloaded_bytes,
            stored_bytes=stored_bytes,
            vouched_by=listing.vouched_by,
            warnings=warnings,
        )


def checksum_candidates(files: Sequence[str]) -> Sequence[str]:
    """The files of a repo that a checksum of the repo may be of: a single one, else those of weights."""
    return files if len(files) == 1 else [path for path in files if format_of(path, files) is not None]


def promised_file(repo: str, options: PullOptions) -> tuple[str, Digest]:
    """The file of a repo that ``options.checksum`` is of, and the checksum.

    Raises InvalidInputError unless it is the only one of ``options.files``, or the only one of weights among them.
    """
    candidates = checksum_candidates(options.files)
    if not options.files:
        raise InvalidInputError(
            f"--checksum is for a URL or a file, and {repo} is a repo of the Hub",
            remedy="leave it out: each file is checked against the Hub's own digest",
        )
    if len(candidates) != 1:
        raise InvalidInputError(
            f"a checksum is of one file, and {len(candidates)} of the files of {repo} are weights",
            remedy="leave it out: each file is checked against the Hub's own digest",
        )
    return candidates[0], Digest.parse(options.checksum or "", default=SHA256)


def _newest_of(reader: Reader, name: str, commit: str) -> Found | None:
    return next((found for found in readable(reader, name) if found.version.revision == commit), None)


def _whole_files(reader: Reader, tree: Digest) -> list[Entry]:
    """The files of a tree that the store has all of; none of a tree that is damaged."""
    try:
        files = reader.tree(tree).files
    except (DamagedError, NotFoundError):
        return []
    return [entry for entry in files if entry.blob is not None and reader.find_blob(entry.blob) is not None]


def _left_out(selection: Selection) -> LeftOut:
    files = [left.file for left in selection.left_out]
    return LeftOut(
        files=len(files),
        size_bytes=sum(file.size_bytes for file in files),
        paths=tuple(file.path for file in sorted(files, key=lambda file: -file.size_bytes)[:_SHOWN_PATHS]),
    )
