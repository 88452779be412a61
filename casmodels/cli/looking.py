"""`ls` and `cat`: look inside a version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from casmodels.cli.arguments import OptionalTarget, Target
from casmodels.cli.command import Command
from casmodels.cli.exits import Exit
from casmodels.cli.help import epilog
from casmodels.cli.output import Table, write_out_bytes
from casmodels.cli.session import Session, UsageError
from casmodels.quantities import size
from casmodels.results import EntryResult, ModelResult

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=Command, epilog=epilog(["casmodels ls", "casmodels ls mine@best"], Exit.NOT_FOUND))
def ls(context: typer.Context, target: OptionalTarget = None) -> None:
    """List the files of a version, or what is in the store."""
    session = Session.of(context)
    output = session.output
    with session.store() as store:
        found = store.ls(target)
    output.answer(found, lambda: output.table(_table(found), "nothing is here yet"))


@app.command(
    cls=Command,
    epilog=epilog(["casmodels cat mine config.json | jq ."], Exit.NOT_FOUND, Exit.INTEGRITY),
)
def cat(
    context: typer.Context,
    target: Target,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file of the version.")],
) -> None:
    """Write a file of a version to stdout, byte by byte."""
    session = Session.of(context)
    if session.json:
        raise UsageError("cat writes the bytes of a file, which are no JSON document", remedy="leave out --json")
    with session.store() as store:
        write_out_bytes(store.cat(target, path))


def _table(found: Sequence[EntryResult] | Sequence[ModelResult]) -> Table:
    rows: list[tuple[str, ...]] = []
    headers: tuple[str, ...] = ("SIZE", "PATH")
    for entry in found:
        if isinstance(entry, EntryResult):
            rows.append((_entry_size(entry), _entry_name(entry)))
        else:
            headers = ("SIZE", "VERSIONS", "MODEL")
            rows.append((size(entry.size_bytes), str(entry.versions), entry.name))
    return Table(headers, rows, frozenset(range(len(headers) - 1)))


def _entry_size(entry: EntryResult) -> str:
    return size(entry.size_bytes) if entry.kind == "file" else ""


def _entry_name(entry: EntryResult) -> str:
    if entry.kind == "link":
        return f"{entry.path} -> {entry.target}"
    return f"{entry.path}/" if entry.kind == "directory" else entry.path
