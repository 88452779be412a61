"""Calls are counted as they happen, in threads too, and in bounded memory."""

from __future__ import annotations

import threading

import pytest

from casmodels.performance import calls as module
from casmodels.performance.calls import Call, Calls


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_calls_items_and_time(clock: Clock) -> None:
    calls = Calls()
    assert calls.latency() is None
    for seconds, items in ((1.0, 8), (3.0, 4)):
        with calls.counting(call := Call(items)):
            clock.now += seconds
        assert call.seconds == seconds
    clock.now += 50  # nothing is under way
    latency = calls.latency()
    assert latency is not None
    assert (latency.calls, latency.items, latency.p50_seconds, latency.p99_seconds) == (2, 12, 1.0, 3.0)
    assert (calls.calls, calls.failed_calls, calls.items, calls.busy_seconds) == (2, 0, 12, 4.0)


def test_one_that_fails_has_no_items_and_no_latency(clock: Clock) -> None:
    calls = Calls()

    def fail() -> None:
        with calls.counting(Call(8)):
            clock.now += 2.0
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 our own
        fail()
    assert (calls.calls, calls.failed_calls, calls.items, calls.busy_seconds) == (0, 1, 0, 2.0)
    assert calls.latency() is None


def test_calls_at_once_are_busy_once(clock: Clock) -> None:
    calls = Calls()
    with calls.counting(Call(1)):
        clock.now += 1.0
        with calls.counting(Call(1)):
            clock.now += 1.0
            assert calls.busy_seconds == 2.0
        clock.now += 1.0
    assert calls.busy_seconds == 3.0


def test_the_window_is_bounded(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    calls = Calls()
    for number in range(module.WINDOW_CALLS + 10):
        with calls.counting(Call(1)):
            clock.now += 9.0 if number < 10 else 1.0
    latency = calls.latency()
    assert latency is not None
    assert (latency.calls, latency.total_seconds) == (module.WINDOW_CALLS, module.WINDOW_CALLS * 1.0)
    assert calls.calls == module.WINDOW_CALLS + 10


def test_threads_lose_no_call() -> None:
    calls = Calls()

    def work() -> None:
        for _ in range(500):
            with calls.counting(Call(2)):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (calls.calls, calls.items) == (2000, 4000)
