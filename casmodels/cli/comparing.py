"""`diff`: what differs between two versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from casmodels.cli.arguments import check_word
from casmodels.cli.command import Command
from casmodels.cli.completion import complete_target
from casmodels.cli.exits import Exit
from casmodels.cli.help import epilog
from casmodels.cli.output import Output, Table, count, short_id
from casmodels.cli.session import Session
from casmodels.quantities import size

if TYPE_CHECKING:
    from casmodels.results import Change, DiffResult, FileDiff, TensorDiff

app = typer.Typer(rich_markup_mode=None)

_HELP = "A name; after @ a tag, a revision, the first digits of a version's id, or ~N."
Before = Annotated[str, typer.Argument(metavar="A", help=_HELP, autocompletion=complete_target, callback=check_word)]
After = Annotated[
    str,
    typer.Argument(metavar="B", help="The same, compared with A.", autocompletion=complete_target, callback=check_word),
]


@app.command(
    cls=Command,
    epilog=epilog(
        ["casmodels diff mine@~1 mine", "casmodels diff gpt2 my-gpt2 --json"], Exit.NOT_FOUND, Exit.INTEGRITY
    ),
)
def diff(context: typer.Context, a: Before, b: After) -> None:
    """Show which files and tensors differ between versions.

    Of tensors that changed it says by how much: the share of numbers that differ, the largest and the mean
    difference, and the norm of the differences over that of A.
    Numbers of different types are compared after widening both to 64-bit floats. That versions differ is no failure.
    """
    session = Session.of(context)
    output = session.output
    with session.store() as store:
        found = store.diff(a, b)
    output.answer(found, lambda: _tell(output, found))


def _tell(output: Output, found: DiffResult) -> None:
    sides = [f"{side.name}@{short_id(side.version)}" for side in (found.a, found.b)]
    if found.same:
        output.line(f"{sides[0]} and {sides[1]} hold the same files")
        return
    output.line(f"{sides[0]} -> {sides[1]}")
    output.table(_files(found.files))
    if found.tensors:
        output.line("")
        output.table(_tensors(found.tensors))
    unchanged = [count(found.unchanged_files, "file")]
    if found.tensors or found.unchanged_tensors:
        unchanged.append(count(found.unchanged_tensors, "tensor"))
    output.line(f"unchanged: {', '.join(unchanged)}")
    if any(tensor.status == "retyped" and tensor.change is not None for tensor in found.tensors):
        output.note("tensors of different types were compared after widening both to 64-bit floats")


def _files(files: Sequence[FileDiff]) -> Table:
    rows = [(file.status, _size(file.size_bytes_a), _size(file.size_bytes_b), file.path, file.note) for file in files]
    return Table(("FILE", "SIZE A", "SIZE B", "PATH", "NOTE"), rows, frozenset({1, 2}), (4, 1, 2))


def _size(size_bytes: int | None) -> str:
    return size(size_bytes) if size_bytes is not None else ""


def _tensors(tensors: Sequence[TensorDiff]) -> Table:
    rows = [(tensor.status, _type(tensor), _shape(tensor), *_numbers(tensor.change), tensor.name) for tensor in tensors]
    headers = ("TENSOR", "TYPE", "SHAPE", "DIFFERING", "MAX", "MEAN", "REL L2", "NAME")
    return Table(headers, rows, frozenset({3, 4, 5, 6}), (5, 4, 2, 1))


def _type(tensor: TensorDiff) -> str:
    return _both(tensor.dtype_a, tensor.dtype_b)


def _shape(tensor: TensorDiff) -> str:
    return _both(
        *("x".join(map(str, shape)) if shape is not None else None for shape in (tensor.shape_a, tensor.shape_b))
    )


def _both(before: str | None, after: str | None) -> str:
    if before is None or after is None or before == after:
        return before or after or ""
    return f"{before} -> {after}"


def _numbers(change: Change | None) -> tuple[str, str, str, str]:
    if change is None:
        return "", "", "", ""
    values = (change.max_absolute, change.mean_absolute, change.relative_l2)
    largest, mean, relative = ("" if value is None else f"{value:.3g}" for value in values)
    return "" if change.share is None else f"{100 * change.share:.1f} %", largest, mean, relative
