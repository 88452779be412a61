"""The times of calls."""

from __future__ import annotations

import math

import pytest

from casmodels.performance.latency import Latency, latency_of, time_calls
from casstore.errors import InvalidInputError


def test_percentiles_are_of_the_nearest_rank() -> None:
    found = latency_of([number / 100 for number in range(100, 0, -1)], items=200)
    assert (found.p50_seconds, found.p95_seconds, found.p99_seconds) == (0.5, 0.95, 0.99)
    assert (found.calls, found.items, found.total_seconds) == (100, 200, 50.5)
    assert found.items_per_second == 200 / 50.5


def test_few_calls() -> None:
    assert latency_of([0.25], items=4) == Latency(1, 4, 0.25, 0.25, 0.25, 0.25)
    assert latency_of([0.5, 0.25, 1.0], items=3).p50_seconds == 0.5
    assert latency_of([0.0], items=1).items_per_second == math.inf
    with pytest.raises(InvalidInputError, match="there are no calls to tell the time of"):
        latency_of([], items=0)


def test_the_first_calls_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    waits = iter([9.0, 9.0, 1.0, 3.0, 2.0])

    def call() -> None:
        nonlocal now
        now += next(waits)

    monkeypatch.setattr("casmodels.performance.latency.time.perf_counter", lambda: now)
    assert time_calls(call, calls=3, warmup_calls=2, items=8) == Latency(3, 24, 6.0, 2.0, 3.0, 3.0)
