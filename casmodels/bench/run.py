"""Loading a model, and running it on batches of several sizes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from casmodels.bench.results import BatchFigures, BenchResult
from casmodels.errors import NotLoadableError
from casmodels.extras import first_line
from casmodels.library import Store
from casmodels.loaders import LoadedModel, load_model
from casmodels.loaders.batches import repeated
from casmodels.loaders.handle import checked_batch_size
from casmodels.loaders.inputs import read_input
from casmodels.log_files import LogFiles, LogName
from casmodels.performance.latency import time_calls
from casmodels.performance.memory import resident_bytes
from casstore.errors import InvalidInputError, StoreError

MAX_BATCH_SIZE: Final = 1 << 16
MAX_CALLS: Final = 1_000_000


def bench(
    store: Store,
    target: str,
    *,
    batch_sizes: Sequence[int] = (1, 8, 32),
    calls: int = 50,
    input_file: Path | None = None,
    isolated: bool = False,
    **options: Any,
) -> BenchResult:
    """Load a version, and time ``calls`` calls of `LoadedModel.process_batch` for each size of batch, after one that
    does not count.

    It is run on the items in ``input_file``, else on what the loader makes up. ``options`` are those of `load_model`.
    Where the store has logs, writing them is part of each call. Raises as `load_model` and `read_input`,
    InvalidInputError for sizes and numbers that make no sense, NotLoadableError when the model cannot be run on
    the data.
    """
    _check(batch_sizes, calls)
    data = read_input(input_file) if input_file is not None else None
    before = resident_bytes(os.getpid())
    begun = time.perf_counter()
    with load_model(store, target, isolated=isolated, **options) as model:
        load_seconds = time.perf_counter() - begun
        batches = tuple(_figures(model, data, size, calls) for size in batch_sizes)
        metrics = model.metrics
    after = metrics.process_bytes
    return BenchResult(
        model=model.version,
        loader=model.loader,
        device=metrics.device,
        isolated=isolated,
        input=input_file.name if input_file is not None else "example",
        load_seconds=load_seconds,
        process_bytes=after,
        grown_bytes=after - before if after is not None and before is not None else None,
        worker_bytes=metrics.worker_bytes,
        gpu=metrics.gpu,
        batches=batches,
    )


def _check(batch_sizes: Sequence[int], calls: int) -> None:
    if not batch_sizes:
        raise InvalidInputError("there is no size of a batch", remedy="name one or more, such as 1,8,32")
    for size in batch_sizes:
        if checked_batch_size(size) > MAX_BATCH_SIZE:
            raise InvalidInputError(f"a batch of {size} items is too large", remedy=f"use at most {MAX_BATCH_SIZE}")
    if not 1 <= calls <= MAX_CALLS:
        raise InvalidInputError(f"{calls} is no number of calls", remedy=f"use from 1 to {MAX_CALLS}")


def _figures(model: LoadedModel, data: Any, size: int, calls: int) -> BatchFigures:
    batch = repeated(data, size) if data is not None else model.example(size)
    try:
        latency = time_calls(lambda: model.process_batch(batch, size), calls=calls, items=size)
    except (StoreError, MemoryError):
        raise
    except Exception as error:  # each library has its own
        what = "the data given" if data is not None else "data made up for it"
        raise NotLoadableError(
            f"{model.version} cannot be run on {what}: {type(error).__name__}: {first_line(error)}",
            remedy="give it what it takes, by --input",
        ) from error
    return BatchFigures(size, latency.items_per_second, latency)


def log_bench(logs: LogFiles, result: BenchResult) -> None:
    """Log what was found."""
    logs.write(
        LogName.PERFORMANCE,
        {"logger": "casmodels.bench", "text": f"{result.model} was benched", **asdict(result)},
    )
