"""Low-priority mode: the threads that do the work, and no others."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psutil
import pytest

from casmodels.runtime import priority
from casmodels.runtime.priority import Lowered, lower_current_thread, thread_initializer

Result = TypeVar("Result")


def _in_thread(work: Callable[[], Result]) -> Result:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


@pytest.mark.skipif(sys.platform != "linux", reason="the numbers are Linux's")
def test_the_thread_that_asks_is_lowered_and_the_others_are_not() -> None:
    def place(thread: int) -> tuple[int, int]:
        return os.getpriority(os.PRIO_PROCESS, thread), psutil.Process(thread).ionice()[0]

    before = place(os.getpid())

    def work() -> tuple[Lowered, tuple[int, int], tuple[int, int]]:
        lowered = lower_current_thread()
        return lowered, place(threading.get_native_id()), place(os.getpid())

    lowered, own, main = _in_thread(work)
    assert lowered == Lowered(cpu=True, io=True)
    assert own == (19, psutil.IOPRIO_CLASS_IDLE)
    assert main == before != own
    assert place(os.getpid()) == before
    assert os.nice(0) == before[0]
    assert _in_thread(lambda: place(threading.get_native_id())) == before


@pytest.mark.skipif(sys.platform != "linux", reason="the calls are Linux's")
def test_what_the_system_forbids_shows_in_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError

    def deny(*_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(os, "setpriority", forbid)
    monkeypatch.setattr(psutil.Process, "ionice", deny)
    assert _in_thread(lower_current_thread) == Lowered(cpu=False, io=False)


def test_notices_say_what_was_achieved() -> None:
    cpu, io, both = "Process priority set to low", "I/O priority set to IDLE", "Low-resource mode configured"
    assert Lowered(cpu=True, io=True).notices == (cpu, io, both)
    assert Lowered(cpu=True, io=False).notices == (cpu,)
    assert Lowered(cpu=False, io=True).notices == (io,)
    assert Lowered(cpu=False, io=False).notices == ()


def test_an_initializer_lowers_every_thread_of_a_pool_and_reports_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lowered: set[int] = set()
    reports: list[Lowered] = []
    outcome = Lowered(cpu=True, io=True)

    def lower() -> Lowered:
        lowered.add(threading.get_ident())
        return outcome

    monkeypatch.setattr(priority, "lower_current_thread", lower)
    together = threading.Barrier(3)
    with ThreadPoolExecutor(3, initializer=thread_initializer(reports.append)) as pool:
        list(pool.map(lambda _: together.wait(timeout=10), range(3)))
    assert len(lowered) == 3
    assert threading.get_ident() not in lowered
    assert reports == [outcome]


@pytest.mark.parametrize(
    ("outcome", "levels"),
    [(Lowered(cpu=True, io=True), ["INFO"] * 3), (Lowered(cpu=True, io=False), ["INFO", "WARNING"])],
)
def test_what_was_achieved_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, outcome: Lowered, levels: list[str]
) -> None:
    monkeypatch.setattr(priority, "lower_current_thread", lambda: outcome)
    with caplog.at_level(logging.INFO, "casmodels"):
        thread_initializer()()
    assert [record.levelname for record in caplog.records] == levels
    assert set(outcome.notices) <= set(caplog.messages)
