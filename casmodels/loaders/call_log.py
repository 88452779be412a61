"""What handles tell the logs: a line for each call, and a summary at the end. Never what a model was given, or gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casmodels.log_files import LogFiles, LogName
from casmodels.quantities import duration
from casstore.errors import FailedError, StoreError

if TYPE_CHECKING:
    from casmodels.loaders.handle import LoadedModel
    from casmodels.performance.calls import Call
    from casmodels.performance.metrics import ModelMetrics


def log_call(logs: LogFiles, model: LoadedModel, kind: str, call: Call, error: BaseException | None) -> None:
    """Log one call; ``kind`` is what it was called by.

    Of an error that is not ours only the class: libraries quote what they were given.
    """
    logs.write(
        LogName.INFERENCE,
        {
            "logger": "casmodels.inference",
            "level": "error" if error is not None else "info",
            "text": f"{model.version} {'failed' if error is not None else 'ran'} in {call.seconds:.6f} s",
            "model": model.version,
            "loader": model.loader,
            "call": kind,
            "items": call.items,
            "duration_seconds": round(call.seconds, 6),
            "error_class": type(error).__name__ if error is not None else None,
            "error": _sentence(error),
        },
    )


def log_summary(logs: LogFiles, metrics: ModelMetrics) -> None:
    """Log what a handle has done, as it is closed."""
    logs.write(
        LogName.PERFORMANCE,
        {
            "logger": "casmodels.performance",
            "text": f"{metrics.version} was closed after {metrics.calls} calls in {duration(metrics.busy_seconds)}",
            **metrics.fields(),
        },
    )


def _sentence(error: BaseException | None) -> str | None:
    # A bare FailedError is what a worker makes of a library's error, in the library's words.
    is_ours = isinstance(error, StoreError) and type(error) is not FailedError
    return str(error) if is_ours else None
