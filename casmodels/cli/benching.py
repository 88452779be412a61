"""`bench`: how fast a model runs."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from casmodels.cli.arguments import Target
from casmodels.cli.command import Command
from casmodels.cli.exits import Exit
from casmodels.cli.foreign import foreign_code
from casmodels.cli.help import epilog
from casmodels.cli.output import ClosedOutputError, Output, Table, flush_out
from casmodels.cli.session import Session, UsageError
from casmodels.quantities import number, size

if TYPE_CHECKING:
    from casmodels.bench.results import BenchResult

app = typer.Typer(rich_markup_mode=None)


@app.command(
    cls=Command,
    epilog=epilog(
        [
            "casmodels bench ada-002",
            "casmodels bench mine@best --batch-size 1,16,64 --calls 200 --plot bench.svg",
            "casmodels bench mine --input lines.txt --device cpu --json",
        ],
        Exit.PARTLY,
        Exit.NOT_FOUND,
        Exit.INTEGRITY,
    ),
)
def bench(
    context: typer.Context,
    target: Target,
    batch_size: Annotated[
        str, typer.Option("--batch-size", metavar="N,…", help="Sizes of batches, each timed by itself.")
    ] = "1,8,32",
    calls: Annotated[int, typer.Option("--calls", metavar="N", help="Calls of each, after one to warm up.")] = 50,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="Lines of text, .npy or .json; else sentences for models of text, zeros where inputs are declared.",
        ),
    ] = None,
    path: Annotated[
        str | None, typer.Option("--path", metavar="PATH", help="One file or directory of the version.")
    ] = None,
    loader: Annotated[str | None, typer.Option("--loader", metavar="NAME", help="Load it by this.")] = None,
    device: Annotated[str | None, typer.Option("--device", metavar="DEVICE", help="cpu, cuda, cuda:N or mps.")] = None,
    isolated: Annotated[bool, typer.Option("--isolated", help="In a process of its own.")] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw it to a .svg or .png. Needs the extra: bench.")
    ] = None,
) -> None:
    """Measure how fast a model runs.

    It is loaded and run; told are the seconds to load it, memory, latency (p50, p95, p99) and throughput.
    """
    from casmodels.bench.plot import check_plot
    from casmodels.bench.run import bench as run
    from casmodels.bench.run import log_bench
    from casmodels.cli.process import collect_garbage
    from casmodels.library import Store
    from casmodels.log_files import LogFiles

    session = Session.of(context)
    session.resumes = False
    sizes = _sizes(batch_size)
    if plot is not None:
        check_plot(plot)
    config = session.config()
    collect_garbage()
    # Not session.store(): what that tunes for commands would hold for the model, too. And no log of each call: to write
    # it takes longer than many a model does.
    with Store(config.store_path, config=replace(config, logs=None)) as store, foreign_code(target):
        result = run(
            store,
            target,
            batch_sizes=sizes,
            calls=calls,
            input_file=input_file,
            isolated=isolated,
            path=path,
            loader=loader,
            device=device,
        )
    if config.logs is not None:
        log_bench(LogFiles(config.logs), result)
    session.output.answer(result, lambda: _tell(session.output, result))
    if plot is not None:
        _plot(session, result, plot)


def _plot(session: Session, result: BenchResult, path: Path) -> None:
    """Write the plot when the figures are told already: a plot that fails must not take them along."""
    from casmodels.bench.plot import write_plot

    with suppress(ClosedOutputError):  # it may still be wanted
        flush_out()
    write_plot(result, path)
    session.output.note(f"the plot is in {path}")


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{text!r} are no sizes of batches", remedy="write them as 1,8,32") from None


def _tell(output: Output, result: BenchResult) -> None:
    name, _, version = result.model.partition("@")
    where = f"{result.device}, in a process of its own" if result.isolated else result.device
    output.line(f"{name}@{version[:12]} by {result.loader} on {where}, run on: {result.input}")
    output.line(f"loaded in {result.load_seconds:.2f} s; memory: {_memory(result)}")
    rows = [
        (str(each.batch_size), *_milliseconds(each.latency), number(each.items_per_second)) for each in result.batches
    ]
    output.table(Table(("BATCH", "P50 MS", "P95 MS", "P99 MS", "ITEMS/S"), rows, frozenset(range(5))))
    if sys.stdout.isatty() and not output.quiet:
        _draw(result)


def _memory(result: BenchResult) -> str:
    parts = []
    if result.process_bytes is not None and result.grown_bytes is not None:
        parts.append(f"{size(result.process_bytes)} ({size(result.grown_bytes)} since before it was loaded)")
    if result.worker_bytes is not None:
        parts.append(f"worker {size(result.worker_bytes)}")
    if result.gpu is not None:
        held = result.gpu.process_bytes
        words = size(held) if held is not None else f"{size(result.gpu.used_bytes)} with those of other programs"
        parts.append(f"{result.gpu.name} {words}")
    return ", ".join(parts) or "not known"


def _milliseconds(latency: Any) -> list[str]:
    return [number(1000 * seconds) for seconds in (latency.p50_seconds, latency.p95_seconds, latency.p99_seconds)]


def _draw(result: BenchResult) -> None:
    """Bars of the throughput, for a terminal."""
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table as Grid

    console = Console()
    most = max(each.items_per_second for each in result.batches)
    grid = Grid.grid(padding=(0, 1))
    grid.add_column(justify="right")
    grid.add_column(width=max(10, min(50, console.width - 30)))
    grid.add_column()
    for each in result.batches:
        grid.add_row(
            f"batch {each.batch_size}",
            Bar(most, 0, each.items_per_second),
            f"{number(each.items_per_second)} items/s",
        )
    console.print()
    console.print(grid)
