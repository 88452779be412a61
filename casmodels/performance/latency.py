"""How long the calls of a model take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from casstore.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Latency:
    """Of some calls, one after the other, of ``items`` items in all."""

    calls: int
    items: int
    total_seconds: float
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float

    @property
    def items_per_second(self) -> float:
        """The throughput."""
        return self.items / self.total_seconds if self.total_seconds else math.inf


def latency_of(seconds: Sequence[float], items: int) -> Latency:
    """What the calls took that are given, each in seconds. Raises InvalidInputError when there are none."""
    if not seconds:
        raise InvalidInputError("there are no calls to tell the time of", remedy="make one call or more")
    ordered = sorted(seconds)
    p50, p95, p99 = (_percentile(ordered, percent) for percent in (50, 95, 99))
    return Latency(len(ordered), items, math.fsum(ordered), p50, p95, p99)


def time_calls(call: Callable[[], object], *, calls: int, warmup_calls: int = 1, items: int = 1) -> Latency:
    """Time a call that runs a model on ``items`` items, after some that are not counted.

    Whoever calls a GPU waits in the call until it is done. Raises InvalidInputError for no calls.
    """
    for _ in range(warmup_calls):
        call()
    seconds = []
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return latency_of(seconds, items * calls)


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest rank: the smallest of the values that so many percent of them do not exceed."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]
