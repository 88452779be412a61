from __future__ import annotations

import threading
import time

import pytest

from casmodels.cancellation import Cancellation
from casmodels.errors import InterruptedPullError
from casmodels.progress import SilentProgress


def test_whoever_looks_is_stopped_once_it_is_asked() -> None:
    cancellation = Cancellation()
    task = cancellation.heeded(SilentProgress()).start("x", 1)
    cancellation.check()
    task.advance(1)
    cancellation.ask()
    cancellation.ask()
    assert cancellation.is_asked
    for stopped in (cancellation.check, lambda: task.advance(1)):
        with pytest.raises(InterruptedPullError, match="the download was cancelled"):
            stopped()
    task.done()


def test_whoever_waits_wakes_at_once() -> None:
    cancellation = Cancellation()
    assert not cancellation.wait(0.01)
    threading.Timer(0.05, cancellation.ask).start()
    begun = time.monotonic()
    assert cancellation.wait(30)
    assert time.monotonic() - begun < 5


def test_whoever_has_to_be_woken_is_woken_once_and_not_after_the_block() -> None:
    cancellation = Cancellation()
    woken: list[str] = []
    with cancellation.waking(lambda: woken.append("over")):
        pass
    with cancellation.waking(lambda: woken.append("early")):
        cancellation.ask()
        cancellation.ask()
    with cancellation.waking(lambda: woken.append("late")):
        assert woken == ["early", "late"]
    assert woken == ["early", "late"]
