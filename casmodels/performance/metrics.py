"""The figures of one loaded model."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

from casmodels.performance.calls import Calls
from casmodels.performance.gpus import GpuUse, gpu_use
from casmodels.performance.latency import Latency
from casmodels.performance.memory import resident_bytes


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """What a handle has done up to now, and what it holds at this moment.

    ``version`` is NAME@ID. ``calls`` ended well and had ``items``; ``failed_calls`` did not. ``busy_seconds`` is how
    long one call or more was under way. ``latency`` is of the last thousand calls. ``process_bytes`` is the memory of
    this process, ``worker_bytes`` that of the model's own; None where it has none. ``gpu`` is None where the model is
    on no GPU or nobody can tell. ``accuracy`` is what the last `LoadedModel.evaluate` gave.
    """

    version: str
    loader: str
    device: str
    calls: int
    failed_calls: int
    items: int
    busy_seconds: float
    latency: Latency | None
    process_bytes: int | None
    worker_bytes: int | None
    gpu: GpuUse | None
    accuracy: float | None = None

    @property
    def items_per_second(self) -> float | None:
        """The throughput; None before the first call."""
        return self.items / self.busy_seconds if self.items and self.busy_seconds else None

    def fields(self) -> dict[str, object]:
        """As a line of a log has it."""
        fields = asdict(self)
        fields["model"] = fields.pop("version")
        return {**fields, "items_per_second": self.items_per_second}


def measured(
    calls: Calls, *, version: str, loader: str, device: str, worker_id: int | None, accuracy: float | None
) -> ModelMetrics:
    """The figures at this moment; ``worker_id`` is the id of the process that the model has for itself."""
    here = os.getpid()
    return ModelMetrics(
        version=version,
        loader=loader,
        device=device,
        calls=calls.calls,
        failed_calls=calls.failed_calls,
        items=calls.items,
        busy_seconds=calls.busy_seconds,
        latency=calls.latency(),
        process_bytes=resident_bytes(here),
        worker_bytes=resident_bytes(worker_id) if worker_id is not None else None,
        gpu=gpu_use(device, here if worker_id is None else worker_id),
        accuracy=accuracy,
    )
