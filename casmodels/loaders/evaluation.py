"""How right a model is, by a measure of the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from casmodels.errors import MetricError
from casmodels.extras import first_line
from casmodels.loaders.batches import length
from casstore.errors import InvalidInputError

Metric: TypeAlias = Callable[[Any, Any], Any]
"""Called as ``metric(results, expected)``; gives one number."""


def score(results: Any, expected: Any, metric: Metric) -> float:
    """What the metric says of a model's results. Raises MetricError when it raises, or gives no number."""
    called = getattr(metric, "__name__", type(metric).__name__)
    try:
        found = metric(results, expected)
    except Exception as error:  # the user's own code
        raise MetricError(f"the metric {called} failed with {type(error).__name__}: {first_line(error)}") from error
    try:
        number = None if isinstance(found, str | bytes) else float(found)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # the last two are torch's and Python's own
        number = None
    if number is None or not math.isfinite(number):
        given = f"a {type(found).__name__}" if number is None else str(number)
        raise MetricError(
            f"the metric {called} gives {given}, not a number", remedy="give one number for all of the results"
        )
    return number


def check_lengths(data: Any, expected: Any) -> None:
    """Raise InvalidInputError unless both are as long."""
    items, answers = length(data), length(expected)
    if items != answers:
        raise InvalidInputError(
            f"there are {items} items and {answers} expected results", remedy="give one result for each item"
        )
