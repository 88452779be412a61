"""The threads that do the work: cutting, hashing, encoding, decoding. They never hold a store's lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from casstore.errors import FailedError

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Workers:
    """Pools made when first used: ``coders`` for independent chunks, and single threads for work that has an order.

    ``count`` is the number of coders (None: one per core that this process may use); ``initializer`` runs at the start
    of every thread, such as to lower its priority.
    """

    def __init__(self, count: int | None = None, initializer: Callable[[], object] | None = None) -> None:
        self.count = count or _usable_cores()
        self._initializer = initializer
        self._lock = threading.Lock()
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._closed = False

    def code(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run on any free coder."""
        return self._pool("coder", self.count).submit(work, *args, **kwargs)

    def in_order(self, line: str, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run after whatever was given to the same line before."""
        return self._pool(line, 1).submit(work, *args, **kwargs)

    def close(self) -> None:
        """End the threads; work that has not begun is dropped."""
        with self._lock:
            self._closed = True
            pools = list(self._pools.values())
        # Not under the lock: work that is running may ask for a pool, and is then told that there is none.
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)

    def _pool(self, name: str, threads: int) -> ThreadPoolExecutor:
        with self._lock:
            if self._closed:
                raise FailedError("the store was closed while it was being used")
            if name not in self._pools:
                self._pools[name] = ThreadPoolExecutor(threads, f"casstore-{name}", self._start)
            return self._pools[name]

    def _start(self) -> None:
        if self._initializer is not None:
            self._initializer()


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
