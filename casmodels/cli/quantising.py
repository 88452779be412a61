"""`quantize`: a smaller version of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from casmodels.cli.arguments import Target
from casmodels.cli.command import Command
from casmodels.cli.exits import Exit
from casmodels.cli.foreign import foreign_code
from casmodels.cli.help import epilog
from casmodels.cli.output import Output, short_id
from casmodels.cli.quantised import told
from casmodels.cli.session import Session
from casmodels.quantities import duration, size

if TYPE_CHECKING:
    from casmodels.results import QuantiseResult

app = typer.Typer(rich_markup_mode=None)


@app.command(
    cls=Command,
    epilog=epilog(
        ["casmodels quantize ada-002 --sample sentences.txt", "casmodels quantize mine@best --dtype bf16 --name mine"],
        Exit.PARTLY,
        Exit.NOT_FOUND,
        Exit.INTEGRITY,
    ),
)
def quantize(
    context: typer.Context,
    target: Target,
    dtype: Annotated[str, typer.Option("--dtype", metavar="TYPE", help="int8, fp8, fp16 or bf16.")] = "int8",
    name: Annotated[
        str | None, typer.Option("--name", metavar="NEW", help="Its name; else NAME-TYPE.", show_default=False)
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            metavar="FILE",
            help="Compare both models on it: lines of text, .npy or .json.",
            show_default=False,
        ),
    ] = None,
    activations: Annotated[
        bool, typer.Option("--activations", help="Multiply in 8 bits, too: faster, and less alike.")
    ] = False,
    device: Annotated[
        str | None, typer.Option("--device", metavar="DEVICE", help="Where, such as cpu or cuda.", show_default=False)
    ] = None,
    message: Annotated[
        str, typer.Option("-m", "--message", metavar="TEXT", help="What is new.", show_default=False)
    ] = "",
) -> None:
    """Save a model in fewer bits, as a version of its own."""
    from casmodels.quantising.stored import quantise_stored

    session = Session.of(context)
    session.resumes = False
    output = session.output
    with session.store() as store, foreign_code(target):
        result = quantise_stored(
            store, target, dtype, name=name, sample=sample, activations=activations, device=device, message=message
        )
    output.report(result, lambda: _tell(output, result))
    if sample is None:
        output.note("it was not compared with the model that it was made from; --sample FILE does that")


def _tell(output: Output, result: QuantiseResult) -> None:
    stored = f"stored {size(result.stored_bytes)} in {duration(result.seconds)}"
    news = "nothing has changed since the version before" if result.unchanged else stored
    output.line(f"{result.name}@{short_id(result.version)}: {told(result.quantised)}; {news}")
