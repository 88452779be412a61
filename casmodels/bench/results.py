"""What a bench finds."""

from __future__ import annotations

from dataclasses import dataclass

from casmodels.performance.gpus import GpuUse
from casmodels.performance.latency import Latency


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """How calls with batches of one size went."""

    batch_size: int
    items_per_second: float
    latency: Latency


@dataclass(frozen=True, slots=True)
class BenchResult:
    """``model`` is NAME@ID; ``input`` says on what it was run: the name of a file, or ``example``.

    ``process_bytes`` is the memory of the process at the end, of which ``grown_bytes`` came while the model was loaded
    and run; ``worker_bytes`` that of the model's own process.
    """

    model: str
    loader: str
    device: str
    isolated: bool
    input: str
    load_seconds: float
    process_bytes: int | None
    grown_bytes: int | None
    worker_bytes: int | None
    gpu: GpuUse | None
    batches: tuple[BatchFigures, ...]
