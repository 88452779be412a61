"""Workers: lines keep their order, closing never hangs, every thread is set up."""

from __future__ import annotations

import threading
import time

import pytest

from casstore.errors import FailedError
from casstore.workers import Workers


def test_a_line_keeps_its_order() -> None:
    workers = Workers(4)
    done: list[int] = []
    futures = [workers.in_order("line", lambda number: (time.sleep(0.001), done.append(number)), n) for n in range(20)]
    for future in futures:
        future.result()
    assert done == list(range(20))
    workers.close()


def test_every_thread_is_set_up_and_named() -> None:
    names: set[str] = set()
    workers = Workers(2, lambda: names.add(threading.current_thread().name))
    barrier = threading.Barrier(3)
    for _ in range(2):
        workers.code(barrier.wait, 10)
    barrier.wait(10)
    workers.in_order("reader", int).result()
    assert {name.rsplit("_", 1)[0] for name in names} == {"casstore-coder", "casstore-reader"}
    assert len(names) == 3
    workers.close()


def test_closing_does_not_wait_for_work_that_asks_for_more() -> None:
    workers = Workers(1)
    begun, go_on = threading.Event(), threading.Event()

    def read() -> None:
        begun.set()
        go_on.wait(10)
        workers.code(int)

    reading = workers.in_order("reader", read)
    begun.wait(10)
    closing = threading.Thread(target=workers.close)
    closing.start()
    time.sleep(0.02)
    go_on.set()
    closing.join(10)
    assert not closing.is_alive()
    with pytest.raises(FailedError, match="closed"):
        reading.result(10)


def test_as_many_as_asked_for() -> None:
    assert Workers(3).count == 3
    assert Workers().count >= 1
