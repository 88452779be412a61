"""The plot of a bench: throughput and latency by size of batch. Needs the extra ``bench`` (matplotlib)."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from casmodels.bench.results import BenchResult
from casmodels.extras import library
from casmodels.quantities import number
from casstore import files
from casstore.errors import InvalidInputError, NotFoundError

_BACKENDS: Final = {".svg": "matplotlib.backends.backend_svg", ".png": "matplotlib.backends.backend_agg"}
"""What draws to files whose names end so."""
_BLUE, _ORANGE, _RED, _GREY = "#1f6feb", "#d4820c", "#c93c37", "#57606a"


def check_plot(path: Path) -> None:
    """Raise, before anything is run, what would keep the plot from being written.

    That is InvalidInputError, NotFoundError, PermissionError, MissingExtraError or BrokenLoaderError.
    """
    if path.suffix.lower() not in _BACKENDS:
        raise InvalidInputError(f"{path} is no name for a plot", remedy=f"let it end in {' or '.join(_BACKENDS)}")
    if path.is_dir():
        raise InvalidInputError(f"{path} is a directory", remedy="name a file in it")
    if not path.parent.is_dir():
        raise NotFoundError(f"there is no directory {path.parent}", remedy="make it, or name another place")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(13, os.strerror(13), str(path.parent))
    for module in ("matplotlib", "matplotlib.figure", _BACKENDS[path.suffix.lower()]):
        library(module, "bench")


def write_plot(result: BenchResult, path: Path) -> None:
    """Draw the plot into a file, whole or not at all. Raises as `check_plot`, and StoreError for a full disk."""
    check_plot(path)
    image = BytesIO()
    _figure(result).savefig(image, format=path.suffix.lower()[1:], dpi=150)
    temporary = path.with_name(f".{uuid4().hex}.tmp")  # which fits wherever the plot's own name does
    files.write_atomically(path, image.getvalue(), temporary=temporary)


def _figure(result: BenchResult) -> Any:
    from matplotlib.figure import Figure  # and not pyplot, which may look for a screen

    figure = Figure(figsize=(9, 4), layout="constrained")
    name, _, version = result.model.partition("@")
    figure.suptitle(f"{name}@{version[:12]} by {result.loader} on {result.device}", fontsize=11)
    throughput, latency = figure.subplots(1, 2)
    places = range(len(result.batches))
    bars = throughput.bar(places, [each.items_per_second for each in result.batches], color=_BLUE, width=0.6)
    throughput.bar_label(bars, labels=[number(each.items_per_second) for each in result.batches], padding=2)
    throughput.margins(y=0.12)
    throughput.set(title="Throughput", ylabel="items per second")
    # The largest first, so that where two are the same both are seen.
    for label, color, marker, width in (("p99", _RED, "^", 10), ("p95", _ORANGE, "s", 7), ("p50", _BLUE, "o", 4)):
        values = [1000 * getattr(each.latency, f"{label}_seconds") for each in result.batches]
        latency.plot(places, values, color=color, marker=marker, markersize=width, label=label)
    latency.set(title=f"Latency of {result.batches[0].latency.calls} calls each", ylabel="milliseconds per call")
    latency.set_ylim(bottom=0)
    latency.legend(frameon=False)
    for axes in (throughput, latency):
        axes.set_xlabel("items in a batch")
        axes.set_xticks(places, [str(each.batch_size) for each in result.batches])
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=_GREY, alpha=0.2)
        axes.set_axisbelow(True)
        axes.yaxis.set_major_formatter(lambda value, _: number(value))
    return figure
