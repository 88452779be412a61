"""How like its original a quantised model is, and how much faster."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from casmodels.errors import NotQuantisableError
from casmodels.extras import first_line
from casmodels.loaders.batches import batches
from casmodels.loaders.handle import LoadedModel
from casmodels.performance.latency import time_calls
from casstore.errors import InvalidInputError, StoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CALLS: Final = 5
_TAKES: Final = "give what its process_batch takes: texts for a text model, else arrays, or a dict of them"


@dataclass(frozen=True, slots=True)
class Similarity:
    """The cosines of two models' outputs for ``items`` items, the mean one and the smallest; and the time that the
    second takes for them in batches, over the first's, each the median of some calls."""

    items: int
    mean: float
    smallest: float
    latency_ratio: float


def compare(original: LoadedModel, quantised: LoadedModel, sample: Any) -> Similarity:
    """Run both on a sample, as `LoadedModel.process_batch` takes it, item by item.

    Raises InvalidInputError for a sample that is empty or that the original cannot take, NotQuantisableError for a
    quantised model that does not give numbers for it.
    """
    items = [item for item, _ in batches(sample, 1)]
    if not items:
        raise InvalidInputError("the sample is empty", remedy="give one item or more, such as texts for a text model")
    cosines = []
    for item in items:
        with _failing_as(InvalidInputError, f"{original.version} cannot take the sample", _TAKES):
            expected = _numbers(original.process_batch(item, 1), original)
        if not _are_finite(expected):
            raise InvalidInputError(
                f"{original.version} itself gives outputs for the sample that are no finite numbers",
                remedy="give a sample for which it does not",
            )
        with _failing_as(NotQuantisableError, "the quantised model cannot run", "use another type"):
            found = _numbers(quantised.process_batch(item, 1), quantised)
        if not _are_finite(found):
            raise NotQuantisableError(
                "the quantised model gives outputs for the sample that are no finite numbers", remedy="use another type"
            )
        cosines.append(_cosine(expected, found))
    before, after = (_median_seconds(model, sample) for model in (original, quantised))
    return Similarity(len(cosines), math.fsum(cosines) / len(cosines), min(cosines), after / before)


@contextmanager
def _failing_as(kind: type[StoreError], what: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except (StoreError, MemoryError):
        raise
    except Exception as error:  # each library's own
        raise kind(f"{what}: {first_line(error)}", remedy=remedy) from error


def _median_seconds(model: LoadedModel, sample: Any) -> float:
    def call() -> None:
        model.process_batch(sample)
        if model.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize(model.device)

    return time_calls(call, calls=_CALLS).p50_seconds


def _numbers(output: Any, model: LoadedModel) -> NDArray[Any]:
    """The floating numbers of one item's output, as one row. Raises InvalidInputError where there are none."""
    import numpy as np

    rows = [np.asarray(each, "float64").ravel() for each in _arrays(output)]
    if not rows:
        raise InvalidInputError(
            f"{model.version} gives no numbers that could be compared", remedy="save it without a sample"
        )
    return np.concatenate(rows)


def _arrays(output: Any) -> list[Any]:
    import sys

    import numpy as np

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(output, torch.Tensor):
        return [output.detach().cpu().double().numpy()] if output.is_floating_point() else []
    if isinstance(output, np.ndarray):
        return [output] if output.dtype.kind == "f" else []
    if isinstance(output, Mapping):
        return [array for value in output.values() for array in _arrays(value)]
    if isinstance(output, list | tuple):
        return [array for value in output for array in _arrays(value)]
    return [[output]] if isinstance(output, float) else []


def _are_finite(row: NDArray[Any]) -> bool:
    import numpy as np

    return bool(np.isfinite(row).all())


def _cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Of two rows; 1 for two that are nothing but zeros, 0 for one and for rows of two lengths."""
    import numpy as np

    if a.shape != b.shape:
        return 0.0
    a, b = (row / (np.abs(row).max(initial=0) or 1) for row in (a, b))  # the squares of large numbers are infinite
    lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    if lengths == 0:
        return float(not a.any() and not b.any())
    return float(a @ b) / lengths
