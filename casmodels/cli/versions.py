"""`versions`, `tag`, `pin`, `unpin` and `remove`: names of versions, and their ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote

import typer

from casmodels.cli.arguments import OptionalName, Target
from casmodels.cli.command import Command
from casmodels.cli.exits import Exit
from casmodels.cli.failures import exit_of_damaged
from casmodels.cli.help import epilog
from casmodels.cli.output import Output, Table, count, moment, short_id
from casmodels.cli.session import Session
from casmodels.quantities import size

if TYPE_CHECKING:
    from casmodels.results import RemoveResult, VersionResult

app = typer.Typer(rich_markup_mode=None)


@app.command(
    cls=Command, epilog=epilog(["casmodels versions mine", "casmodels versions"], Exit.NOT_FOUND, Exit.INTEGRITY)
)
def versions(context: typer.Context, name: OptionalName = None) -> int:
    """List the versions of a name, newest first."""
    session = Session.of(context)
    output = session.output
    with session.store() as store:
        found = store.versions(name)
    output.answer(found, lambda: output.table(_table(found, with_names=name is None), "no versions yet"))
    return exit_of_damaged(output, sum(version.damaged is not None for version in found))


@app.command(cls=Command, epilog=epilog(["casmodels tag mine best", "casmodels tag mine@~1 before"], Exit.NOT_FOUND))
def tag(
    context: typer.Context,
    target: Target,
    name: Annotated[str, typer.Argument(metavar="TAG", help="The tag; it must be new to the name.")],
) -> None:
    """Give a version a tag: a name that does not move."""
    session = Session.of(context)
    with session.store() as store:
        store.tag(target, name)
    _done(session.output, {"target": target, "tag": name}, f"{target} is tagged {name}")


@app.command(cls=Command, epilog=epilog(["casmodels pin mine@best"], Exit.NOT_FOUND))
def pin(context: typer.Context, target: Target) -> None:
    """Protect a version from removal and eviction."""
    session = Session.of(context)
    with session.store() as store:
        store.pin(target)
    _done(session.output, {"target": target, "pinned": True}, f"{target} is pinned")


@app.command(cls=Command, epilog=epilog(["casmodels unpin mine@best"], Exit.NOT_FOUND))
def unpin(context: typer.Context, target: Target) -> None:
    """End a version's protection."""
    session = Session.of(context)
    with session.store() as store:
        store.unpin(target)
    _done(session.output, {"target": target, "pinned": False}, f"{target} is no longer pinned")


@app.command(cls=Command, epilog=epilog(["casmodels remove mine@~2", "casmodels remove ada-002"], Exit.NOT_FOUND))
def remove(context: typer.Context, target: Target) -> None:
    """Remove a version, or a name with all its versions.

    The bytes stay until `casmodels gc` frees them.
    """
    session = Session.of(context)
    output = session.output
    with session.store() as store:
        result = store.remove(target)
    output.report(result, lambda: _tell_removed(output, result))


def _done(output: Output, document: dict[str, object], sentence: str) -> None:
    output.report(document, lambda: output.line(sentence))


def _tell_removed(output: Output, result: RemoveResult) -> None:
    what = f"{result.name} ({count(len(result.versions), 'version')})"
    if len(result.versions) == 1:
        what = f"{result.name}@{short_id(result.versions[0])}"
    output.line(f"removed {what}; `casmodels gc` would free {size(result.freeable_bytes)}")
    for version in result.versions:
        output.line(f"  until then `casmodels tag {result.name}@{short_id(version)} TAG` brings it back")


def _table(found: Sequence[VersionResult], *, with_names: bool) -> Table:
    headers = ("VERSION", "TAGS", "CREATED", "FILES", "SIZE", "STORED", "MESSAGE")
    rows = [
        (
            short_id(version.version),
            ", ".join([*version.tags, *_marks(version)]),
            moment(version.created) if version.created is not None else "",
            str(version.files) if version.files is not None else "",
            _size(version.size_bytes),
            _size(version.stored_bytes),
            _about(version),
        )
        for version in found
    ]
    if not with_names:
        return Table(headers, rows, frozenset({3, 4, 5}), (3, 5))
    named = [(version.name, *row) for version, row in zip(found, rows, strict=True)]
    return Table(("NAME", *headers), named, frozenset({4, 5, 6}), (4, 6))


def _marks(version: VersionResult) -> list[str]:
    return [mark for mark, holds in (("(pinned)", version.pinned), ("(signed)", version.signature)) if holds]


def _size(size_bytes: int | None) -> str:
    return size(size_bytes) if size_bytes is not None else ""


def _about(version: VersionResult) -> str:
    if version.damaged is not None:
        return f"damaged: {version.damaged}"
    if version.message:
        return version.message
    if version.quantised is not None:
        parent, _, made_from = version.quantised.parent.rpartition("@")
        return f"{version.quantised.dtype} of {parent}@{short_id(made_from)}"
    if version.revision:
        return f"{version.source}@{version.revision[:12]}"
    source = str(version.source)
    if not source.startswith("file://"):
        return source
    folder, _, name = unquote(source.removeprefix("file://"), errors="surrogateescape").rstrip("/").rpartition("/")
    return f"{name} in {folder or '/'}"  # what a narrow terminal cuts is the folder
