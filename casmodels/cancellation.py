"""Cancelling a pull from another thread, so that it ends within a second or two and leaves nothing unfinished."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from casmodels.errors import InterruptedPullError

if TYPE_CHECKING:
    from casmodels.progress import Progress, Task


class Cancellation:
    """One request to stop, for all the threads of a pull: some look, some wait, and some have to be woken."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._wakers: list[Callable[[], None]] = []

    @property
    def is_asked(self) -> bool:
        """Whether the work is to stop."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Have the work stop. From any thread; asking twice is harmless."""
        with self._lock:
            if self._asked.is_set():
                return
            self._asked.set()
            wakers = list(self._wakers)
        for wake in wakers:
            wake()

    def check(self) -> None:
        """Raise InterruptedPullError if the work is to stop."""
        if self._asked.is_set():
            raise InterruptedPullError("the download was cancelled", remedy="ask for it again")

    def wait(self, seconds: float) -> bool:
        """Sleep; says whether the work is to stop, and then at once."""
        return self._asked.wait(seconds)

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have ``wake`` called when the work is to stop while the block runs; at once if it is already."""
        with self._lock:
            self._wakers.append(wake)
            is_late = self._asked.is_set()
        try:
            if is_late:
                wake()
            yield
        finally:
            with self._lock:
                self._wakers.remove(wake)

    def heeded(self, progress: Progress) -> Progress:
        """A progress that stops whoever reports to it: its tasks' ``advance`` raises InterruptedPullError."""
        return _Heeded(self, progress)


class _Heeded:
    def __init__(self, cancellation: Cancellation, progress: Progress) -> None:
        self._cancellation = cancellation
        self._progress = progress

    def expect(self, files: int, size_bytes: int) -> None:
        self._progress.expect(files, size_bytes)

    def start(self, label: str, total_bytes: int | None) -> Task:
        return _HeededTask(self._cancellation, self._progress.start(label, total_bytes))

    def log(self, event: Mapping[str, object]) -> None:
        self._progress.log(event)


class _HeededTask:
    def __init__(self, cancellation: Cancellation, task: Task) -> None:
        self._cancellation = cancellation
        self._task = task

    def advance(self, n: int) -> None:
        self._cancellation.check()
        self._task.advance(n)

    def done(self) -> None:
        self._task.done()
