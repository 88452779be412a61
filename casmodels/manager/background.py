"""Work for one thread, one thing after the other, in the order in which it was asked for."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from casmodels.cancellation import Cancellation
from casstore.errors import InvalidInputError

_T = TypeVar("_T")

_LEAVE_SECONDS: Final = 5.0
"""How long `Background.close` waits for work that was cancelled."""


class _Job:
    """One thing to do; how it ended is there when ``tell`` is called."""

    def __init__(self, work: Callable[[Cancellation], Any], tell: Callable[[], object]) -> None:
        self.work = work
        self.tell = tell
        self.cancellation = Cancellation()
        self.value: Any = None
        self.error: BaseException | None = None
        self.ended_by: threading.Thread | None = None
        """The thread that did it, if it was its last."""

    def do(self) -> None:
        try:
            self.cancellation.check()
            self.value = self.work(self.cancellation)
        except BaseException as error:
            self.error = error


class Background:
    """A thread that is there only while there is work. Safe for threads, and for several event loops.

    It is a daemon, so that the interpreter does not wait for a long download at its end, but cancels it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._current: _Job | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    async def run(self, work: Callable[[Cancellation], _T]) -> _T:
        """Await what ``work`` gives. When the awaiting task is cancelled, so is the work, and its end is awaited.

        A second cancellation does not wait for that. Raises InvalidInputError after `close`.
        """
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody waits
                loop.call_soon_threadsafe(done.set_result, None)

        job = self._begin(work, tell)
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            if not self._drop(job):
                await asyncio.wait([done])
                _see_off(job)
            raise
        except GeneratorExit:  # the event loop was left for good
            self._drop(job)
            raise
        _see_off(job)
        if job.error is not None:
            raise job.error
        value: _T = job.value
        return value

    def close(self) -> None:
        """Cancel what is under way and what waits, and wait a few seconds for the end."""
        with self._lock:
            self._is_closed = True
            jobs = [*self._waiting, *([self._current] if self._current is not None else [])]
            thread = self._thread
        for job in jobs:
            job.cancellation.ask()
        if thread is not None:
            thread.join(_LEAVE_SECONDS)

    def _begin(self, work: Callable[[Cancellation], object], tell: Callable[[], object]) -> _Job:
        job = _Job(work, tell)
        with self._lock:
            if self._is_closed:
                raise InvalidInputError("the downloader is closed", remedy="make another one")
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="casmodels-download", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        return job

    def _drop(self, job: _Job) -> bool:
        """Cancel a job; True if it had not begun and never will."""
        job.cancellation.ask()
        with self._lock:
            if job in self._waiting:
                self._waiting.remove(job)
                return True
        return False

    def _work(self) -> None:
        job = self._next()
        while job is not None:
            job.do()
            ended, job = job, self._next()
            if job is None:
                ended.ended_by = threading.current_thread()
            ended.tell()

    def _next(self) -> _Job | None:
        with self._lock:
            self._current = self._waiting.popleft() if self._waiting else None
            if self._current is None:
                self._thread = None
                atexit.unregister(self.close)
            return self._current


def _see_off(job: _Job) -> None:
    """Leave no thread behind: the one that told of its last job has nothing else to do."""
    if job.ended_by is not None:
        job.ended_by.join()
