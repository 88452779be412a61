"""`pull` and `redownload`: models come in."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from casmodels.cli.arguments import DryRun, Model, Sources, check_word
from casmodels.cli.command import Command
from casmodels.cli.exits import Exit, exit_of_all
from casmodels.cli.help import epilog
from casmodels.cli.output import Output, count, some
from casmodels.cli.session import Session, UsageError
from casmodels.progress import Progress, Task
from casmodels.quantities import duration, size
from casmodels.results import PullResult, PullStatus

app = typer.Typer(rich_markup_mode=None)

_CODES = (Exit.PARTLY, Exit.NOT_FOUND, Exit.INTEGRITY, Exit.UPSTREAM)
_Workers = Annotated[int | None, typer.Option("--workers", min=1, metavar="N", help="Files at once.")]
_LowPriority = Annotated[
    bool | None,
    typer.Option("--low-priority/--no-low-priority", help="Stay out of the way of other programs (the default)."),
]


@app.command(
    cls=Command,
    epilog=epilog(
        [
            "casmodels pull ada-002",
            "casmodels pull org/name@v2 --include '*.gguf'",
            "casmodels pull https://host/model.pt --checksum sha256:... --name mine",
            "casmodels pull ./directory --name org/name",
            "casmodels pull --list configs/download_list.json",
        ],
        *_CODES,
    ),
)
def pull(
    context: typer.Context,
    models: Sources = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="REV", help="A branch, tag or commit.", callback=check_word)
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", metavar="GLOB", help="Only these files; may be repeated.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Not these files; may be repeated.")
    ] = None,
    all_files: Annotated[bool, typer.Option("--all-files", help="Every weight format, not only one.")] = False,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Keep it under this name.", callback=check_word)
    ] = None,
    checksum: Annotated[
        str | None, typer.Option("--checksum", metavar="SHA256:HEX", help="Of a URL's bytes, as downloaded.")
    ] = None,
    all_models: Annotated[bool, typer.Option("--all", help="All the default models.")] = False,
    download_list: Annotated[
        Path | None, typer.Option("--list", metavar="FILE", help="What a download_list.json names.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch again what the store has.")] = False,
    workers: _Workers = None,
    dry_run: DryRun = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not use the network.")] = False,
    low_priority: _LowPriority = None,
) -> int:
    """Bring models in: from the Hub, a URL or a directory.

    Takes one weight format (safetensors, else torch's) and all small files. What the store has is not fetched
    again, and every file is checked against its digest before it counts.
    """
    from casmodels.library.options import PullOptions

    wanted = list(models or ())
    if download_list is not None:
        _check_list_alone(wanted or all_models, name, checksum, revision, include, exclude, all_files)
    else:
        _check(wanted, all_models=all_models, name=name, checksum=checksum)
    options = PullOptions(
        revision=revision,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        all_files=all_files,
        name=name,
        checksum=checksum,
        all_models=all_models,
        force=force,
        workers=workers,
        dry_run=dry_run,
        offline=offline,
        low_priority=low_priority,
    )
    session = Session.of(context)
    with session.store() as store, session.progress() as progress:
        warnings = Warnings(progress, session.output)
        if download_list is not None:
            results = store.pull_list(download_list, options, warnings)
        else:
            results = store.pull(wanted, options, warnings)
    return _finish(session.output, results, warnings, dry_run=dry_run, listed=download_list is not None)


@app.command(cls=Command, epilog=epilog(["casmodels redownload ada-002"], *_CODES))
def redownload(
    context: typer.Context, model: Model, workers: _Workers = None, low_priority: _LowPriority = None
) -> int:
    """Fetch every file of a model again.

    What differs or is damaged is replaced.
    """
    from casmodels.library.options import PullOptions

    session = Session.of(context)
    options = PullOptions(force=True, workers=workers, low_priority=low_priority)
    with session.store() as store, session.progress() as progress:
        warnings = Warnings(progress, session.output)
        results = store.redownload(model, options, warnings)
    return _finish(session.output, results, warnings)


class Warnings:
    """Tells people at once what they should know before more happens, and remembers it; the rest goes to others."""

    def __init__(self, progress: Progress, output: Output) -> None:
        self._progress = progress
        self._output = output
        self._told: set[tuple[object, object]] = set()

    def expect(self, files: int, size_bytes: int) -> None:
        """See Progress."""
        self._progress.expect(files, size_bytes)

    def start(self, label: str, total_bytes: int | None) -> Task:
        """See Progress."""
        return self._progress.start(label, total_bytes)

    def log(self, event: Mapping[str, object]) -> None:
        """See Progress."""
        if "warning" in event:
            self.tell(event.get("model"), event["warning"])
        else:
            self._progress.log(event)

    def tell(self, model: object, warning: object) -> None:
        """Say it on stderr, once."""
        if (model, warning) not in self._told:
            self._told.add((model, warning))
            self._output.note(f"warning: {model}: {warning}")


def _check(models: Sequence[str], *, all_models: bool, name: str | None, checksum: str | None) -> None:
    if not models and not all_models:
        raise UsageError(
            "pull needs a model", remedy="name one, as in `casmodels pull ada-002`, or say --all or --list FILE"
        )
    if models and all_models:
        raise UsageError("--all pulls the default models and takes no others", remedy="leave one of them out")
    for option, value in (("--name", name), ("--checksum", checksum)):
        if value is not None and len(models) != 1:
            raise UsageError(f"{option} is for a single model", remedy="pull the models one by one")


def _check_list_alone(*others: object) -> None:
    if any(others):
        raise UsageError(
            "--list says what to take of each model, and takes no others",
            remedy="beside it stand --force, --workers, --dry-run, --offline and --low-priority",
        )


def _finish(
    output: Output, results: Sequence[PullResult], warnings: Warnings, *, dry_run: bool = False, listed: bool = False
) -> int:
    output.report(results, lambda: _tell(output, results, dry_run=dry_run, listed=listed))
    for result in results:
        for warning in result.warnings:
            warnings.tell(result.model, warning)
        if result.error is not None:
            named = result.error.message
            if result.model not in named:
                named = f"{result.model}: {named}"
            output.complain(named, result.error.remedy)
    return exit_of_all([result.error.kind if result.error is not None else None for result in results])


def _tell(output: Output, results: Sequence[PullResult], *, dry_run: bool, listed: bool) -> None:
    more = "'files' in the list takes others" if listed else "--all-files takes all"
    for result in results:
        if result.status is PullStatus.FAILED:
            continue
        output.line(_sentence(result, dry_run=dry_run))
        if result.left_out.files:
            left = result.left_out
            examples = f" ({some(left.paths)})" if left.paths else ""
            output.line(f"  left out {count(left.files, 'file')}, {size(left.size_bytes)}{examples}; {more}")
    arrived = [result for result in results if result.status is not PullStatus.FAILED]
    if arrived and not dry_run:
        output.line(f"next: {_next_command(arrived)}")


def _sentence(result: PullResult, *, dry_run: bool) -> str:
    files = f"{count(result.files, 'file')}, {size(result.size_bytes)}"
    if result.status is PullStatus.CACHED:
        return f"{result.model}: already here ({files})"
    if dry_run:
        return f"{result.model}: would download {size(result.downloaded_bytes)} of {files}"
    return (
        f"{result.model}: {files}; downloaded {size(result.downloaded_bytes)}, "
        f"stored {size(result.stored_bytes)} in {duration(result.seconds)}"
    )


def _next_command(results: Sequence[PullResult]) -> str:
    repos = [result.model for result in results if result.repo is not None]
    if repos:
        return f'eval "$(casmodels view {shlex.join(repos)})"'
    first = results[0]
    return f"casmodels checkout {shlex.quote(first.name or first.model)}"
