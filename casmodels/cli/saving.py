"""`checkpoint`, `checkout` and `restore`: directories become versions, and versions directories."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from casmodels.cli.arguments import Force, Name, Target, check_word
from casmodels.cli.command import Command
from casmodels.cli.exits import Exit
from casmodels.cli.help import epilog
from casmodels.cli.output import Output, count, short_id, some, write_err
from casmodels.cli.session import Session, UsageError
from casmodels.quantities import duration, size

if TYPE_CHECKING:
    from casmodels.results import CheckoutResult, CheckpointResult

app = typer.Typer(rich_markup_mode=None)


@app.command(
    cls=Command,
    epilog=epilog(
        [
            "casmodels checkpoint mine ./my-model",
            "casmodels checkpoint mine -m 'after 3 epochs' --tag best --base ada-002",
            "casmodels checkpoint btc-lstm ./btc --type trading/predictor",
        ],
        Exit.PARTLY,
        Exit.NOT_FOUND,
    ),
)
def checkpoint(
    context: typer.Context,
    name: Name,
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="A directory or file; else where NAME was last.", show_default=False),
    ] = None,
    message: Annotated[
        str, typer.Option("-m", "--message", metavar="TEXT", help="What is new.", show_default=False)
    ] = "",
    tags: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Tag it; may be repeated.")] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Protect it from removal.")] = False,
    base: Annotated[
        str | None, typer.Option("--base", metavar="NAME[@V]", help="What it was made from.", callback=check_word)
    ] = None,
    rehash: Annotated[bool, typer.Option("--rehash", help="Read every file, even if it looks unchanged.")] = False,
    kind: Annotated[
        str | None,
        typer.Option("--type", metavar="TYPE", help="What the model does; else as before.", show_default=False),
    ] = None,
) -> None:
    """Save a directory or file as a new version."""
    session = Session.of(context)
    output = session.output
    with session.store() as store, session.progress() as progress:
        result = store.checkpoint(name, path, message, tuple(tags or ()), pin, base, rehash, kind, progress)
    output.report(result, lambda: output.line(_saved(result)))


@app.command(
    cls=Command,
    epilog=epilog(
        ["casmodels checkout mine", "casmodels checkout mine@best ./model", "casmodels checkout mine@~1 ./before"],
        Exit.NOT_FOUND,
        Exit.INTEGRITY,
    ),
)
def checkout(
    context: typer.Context,
    target: Target,
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Where to; else ./NAME.", show_default=False)
    ] = None,
    force: Force = False,
    include: Annotated[
        list[str] | None, typer.Option("--include", metavar="GLOB", help="Only these files; may be repeated.")
    ] = None,
) -> None:
    """Write a version to a directory.

    A directory that holds another version is brought to this one by writing only what differs. Files that you
    made or edited are never overwritten without --force.
    """
    session = Session.of(context)
    with session.store() as store, session.progress() as progress:
        result = store.checkout(target, directory, force, tuple(include or ()), progress)
    _tell_checkout(session.output, result)


@app.command(cls=Command, epilog=epilog(["casmodels restore mine@~1"], Exit.PARTLY, Exit.NOT_FOUND, Exit.INTEGRITY))
def restore(
    context: typer.Context,
    target: Target,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Write a version to where it was taken from."""
    session = Session.of(context)
    with session.store() as store:
        plan = store.restore_plan(target)
        if not yes and not _agreed(session, plan):
            session.output.note("nothing was changed")
            return Exit.PARTLY
        with session.progress() as progress:
            result = store.restore(target, True, progress)
    _tell_checkout(session.output, result)
    return Exit.DONE


def _agreed(session: Session, plan: str) -> bool:
    if session.json or not sys.stdin.isatty():
        raise UsageError(f"restore would do this: {plan}", remedy="say --yes if that is right")
    write_err(plan)
    return typer.confirm("Go on?", err=True)


def _saved(result: CheckpointResult) -> str:
    version = f"{result.name}@{short_id(result.version)}"
    if result.unchanged:
        return f"{version}: nothing has changed since {short_id(result.parent or result.version)}"
    return (
        f"{version}: {count(result.files, 'file')}, {size(result.size_bytes)}; "
        f"stored {size(result.stored_bytes)} in {duration(result.seconds)}"
    )


def _tell_checkout(output: Output, result: CheckoutResult) -> None:
    output.report(
        result,
        lambda: output.line(
            f"{result.path}: {result.name}@{short_id(result.version)}; wrote {result.written_files} of "
            f"{count(result.files, 'file')}, {size(result.written_bytes)} in {duration(result.seconds)}"
        ),
    )
    if result.kept:
        output.note(f"kept {count(len(result.kept), 'file')} of your own: {some(result.kept)}")
