"""What a download tells while it goes on: bytes to a callback in the event loop's own thread, events to the log."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from casmodels.events import log_event
from casmodels.progress import Task

ProgressCallback: TypeAlias = Callable[[str, int, int | None], object]
"""Called as ``progress(model, done_bytes, total_bytes)``; the total is None while nobody knows it."""

_PAUSE_SECONDS: Final = 0.05


class LoopReport:
    """A `casmodels.progress.Progress` for one download; made in the event loop's thread, used from others.

    The callback hears of it 20 times a second at most. One that raises is not called again: the exception goes to the
    event loop's exception handler, which logs it unless the program says otherwise, and the download goes on. Raises
    TypeError for one that cannot be called so.
    """

    def __init__(self, model: str, callback: ProgressCallback | None) -> None:
        if callback is not None and (not callable(callback) or inspect.iscoroutinefunction(callback)):
            raise TypeError("progress is a plain function that is called as progress(model, done_bytes, total_bytes)")
        self._model = model
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._expected_bytes = 0
        self._started_bytes = 0
        self._is_unbounded = False
        self._done_bytes = 0
        self._told: tuple[int, int | None] | None = None
        self._next_seconds = 0.0

    def expect(self, files: int, size_bytes: int) -> None:  # noqa: ARG002 (the protocol's signature)
        """See Progress."""
        with self._lock:
            self._expected_bytes += size_bytes

    def start(self, label: str, total_bytes: int | None) -> Task:  # noqa: ARG002
        """See Progress."""
        with self._lock:
            self._started_bytes += total_bytes or 0
            self._is_unbounded = self._is_unbounded or total_bytes is None
        return _Advance(self._advance)

    def log(self, event: Mapping[str, object]) -> None:
        """See Progress."""
        log_event(event)

    def end(self) -> None:
        """Tell how far it came at last, and then nothing more. In the event loop's thread."""
        if self._told is not None or self._done_bytes:
            self._tell()
        self._callback = None

    def _advance(self, change_bytes: int) -> None:
        with self._lock:
            self._done_bytes += change_bytes
            now = time.monotonic()
            if self._callback is None or now < self._next_seconds:
                return
            self._next_seconds = now + _PAUSE_SECONDS
        with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._tell, context=self._context)

    def _tell(self) -> None:
        with self._lock:
            total_bytes = max(self._expected_bytes, self._started_bytes)
            state = self._done_bytes, None if self._is_unbounded and not self._expected_bytes else total_bytes
            is_news, self._told = state != self._told, state
        if self._callback is None or not is_news:
            return
        try:
            self._callback(self._model, *state)
        except Exception as error:
            self._callback = None
            message = f"the progress callback raised while {self._model} was downloaded; it is not called again"
            self._loop.call_exception_handler({"message": message, "exception": error})


class _Advance:
    """A task that counts only bytes."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance

    def advance(self, n: int) -> None:
        self._advance(n)

    def done(self) -> None:
        pass
