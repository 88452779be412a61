"""The calls of one model, counted while they happen."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from casmodels.performance.latency import Latency, latency_of

WINDOW_CALLS: Final = 1000
"""Percentiles are of the last calls, so many at most: their memory is bounded, and they tell of now."""


@dataclass(slots=True)
class Call:
    """One call with so many items. ``seconds`` is there when it has ended."""

    items: int
    seconds: float = 0.0


class Calls:
    """Counts calls, failed ones, items and time. Safe for threads that call at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, int]] = deque(maxlen=WINDOW_CALLS)
        self._active = 0
        self._busy_since = 0.0
        self._busy_seconds = 0.0
        self.calls = 0
        self.failed_calls = 0
        self.items = 0

    @contextmanager
    def counting(self, call: Call) -> Iterator[None]:
        """Count the block as a call; what it raises makes it a failed one."""
        with self._lock:
            begun = time.perf_counter()
            if not self._active:
                self._busy_since = begun
            self._active += 1
        is_done = False
        try:
            yield
            is_done = True
        finally:
            with self._lock:
                now = time.perf_counter()
                call.seconds = now - begun
                self._active -= 1
                if not self._active:
                    self._busy_seconds += now - self._busy_since
                if is_done:
                    self.calls += 1
                    self.items += call.items
                    self._recent.append((call.seconds, call.items))
                else:
                    self.failed_calls += 1

    @property
    def busy_seconds(self) -> float:
        """How long one call or more was under way, failed ones too."""
        with self._lock:
            return self._busy_seconds + (time.perf_counter() - self._busy_since if self._active else 0.0)

    def latency(self) -> Latency | None:
        """Of the last `WINDOW_CALLS` that did not fail; None before there is one."""
        with self._lock:
            recent = list(self._recent)
        return latency_of([seconds for seconds, _ in recent], sum(items for _, items in recent)) if recent else None
