"""Several downloads at once."""

from __future__ import annotations

import contextlib
import itertools
import queue
import random as random_module
import threading
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from casmodels.downloads.download import Download, Downloaded, Outcome
from casmodels.downloads.partials import Partial
from casmodels.downloads.retries import RetryPolicy
from casmodels.errors import InterruptedPullError
from casstore.errors import StoreError

if TYPE_CHECKING:
    from casmodels.downloads.connections import Connections

_AHEAD: Final = 2
_LEAVE_SECONDS: Final = 2.0
"""How long a cancelled `Downloader` waits for its workers; one that hangs in a connect is left to end by
itself.
"""
_LOOK_SECONDS: Final = 0.2
"""How often whoever waits for a file looks whether all is to stop."""


class Downloader:
    """Fetches files into partial files in one directory; use it as a context manager, for one pull.

    ``initializer`` runs first in every worker thread (for low priority). ``progress(download, change_bytes)``
    is called from the workers, for bytes kept from an earlier run too; the change is negative when a file has
    to start over. ``stall_seconds`` without a byte ends a connection, which is then resumed. ``wait``,
    ``jitter`` and ``clock`` are for tests; ``wait(seconds)`` sleeps and says whether all is to stop.
    """

    def __init__(
        self,
        directory: Path,
        *,
        workers: int = 4,
        initializer: Callable[[], None] | None = None,
        progress: Callable[[Download, int], None] | None = None,
        retries: RetryPolicy | None = None,
        connect_seconds: float = 10.0,
        stall_seconds: float = 30.0,
        wait: Callable[[float], bool] | None = None,
        jitter: Callable[[], float] = random_module.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if workers < 1:
            raise ValueError("a Downloader needs at least one worker")
        self._directory = directory
        self._workers = workers
        self._initializer = initializer
        self._progress = progress
        self._retries = retries or RetryPolicy()
        self._timeouts = (connect_seconds, stall_seconds)
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._jitter = jitter
        self._clock = clock
        self._lock = threading.Lock()
        self._discards = False
        self._leave_by_seconds: float | None = None
        self._held: set[Partial] = set()
        self._connections: list[Connections] = []
        self._of_thread = threading.local()

    def __enter__(self) -> Downloader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        for connections in self._connections:
            connections.close()

    def fetch(self, download: Download) -> Downloaded | None:
        """Fetch one file in this thread; None when it is no longer needed.

        Raises WrongBytesError, NetworkError, AccessError, MissingUpstreamError, UpstreamError,
        InterruptedPullError after `cancel`, FullError, NotWritableError and UnfitFileSystemError.
        """
        from casmodels.downloads.transfer import Control, Transfer

        control = Control(self._stop, self._wait, self._jitter, self._clock, self._retries, self._report)
        partial = Partial.hold(self._directory, download, self._wait)
        with self._lock:
            self._held.add(partial)
        try:
            if download.still_needed is not None and not download.still_needed():
                partial.let_go(remove=True)
                return None
            return Transfer(download, partial, self._own_connections(), control).run()
        except BaseException:
            partial.let_go(remove=partial.size_bytes == 0 or self._discards_new(partial))
            raise
        finally:
            with self._lock:
                self._held.discard(partial)

    def fetch_all(self, downloads: Iterable[Download]) -> Generator[Outcome, None, None]:
        """Fetch all, giving each as it ends, in the order in which they end.

        At most ``workers + 2`` finished or running files exist at a time: the next begins when the caller
        comes back for more. Leaving the loop early cancels the `Downloader` and keeps the partial files.
        """
        tasks: queue.SimpleQueue[Download | None] = queue.SimpleQueue()
        results: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        ahead = iter(downloads)
        first = list(itertools.islice(ahead, self._workers + _AHEAD))
        threads = [
            threading.Thread(target=self._work, args=(tasks, results), name=f"download-{number}", daemon=True)
            for number in range(min(self._workers, len(first)))
        ]
        try:
            for thread in threads:
                thread.start()
            for download in first:
                tasks.put(download)
            under_way = len(first)
            while under_way:
                result = self._next_of(results)
                if isinstance(result, BaseException):
                    raise result
                under_way -= 1
                yield result
                following = next(ahead, None)
                if following is not None:
                    tasks.put(following)
                    under_way += 1
        except BaseException:
            self.cancel()
            raise
        finally:
            for _ in threads:
                tasks.put(None)
            deadline = self._leave_by_seconds or time.monotonic() + _LEAVE_SECONDS
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
            self._unlink_hung()
            self._let_go_unseen(results)

    def cancel(self, *, discard: bool = False) -> None:
        """Stop everything soon, from any thread. Partial files are kept; with ``discard`` only those that an
        earlier run had begun.
        """
        self._discards = self._discards or discard
        self._leave_by_seconds = self._leave_by_seconds or time.monotonic() + _LEAVE_SECONDS
        self._stop.set()
        with self._lock:
            connections = list(self._connections)
        for one in connections:
            one.abort()

    def _next_of(self, results: queue.SimpleQueue[Outcome | BaseException]) -> Outcome | BaseException:
        """What comes next. Raises InterruptedPullError when a worker hangs that was told to stop."""
        while True:
            with contextlib.suppress(queue.Empty):
                return results.get(timeout=_LOOK_SECONDS)
            if self._leave_by_seconds is not None and time.monotonic() >= self._leave_by_seconds:
                raise InterruptedPullError("a download that hangs was interrupted", remedy="the next run resumes")

    def _work(
        self,
        tasks: queue.SimpleQueue[Download | None],
        results: queue.SimpleQueue[Outcome | BaseException],
    ) -> None:
        try:
            if self._initializer is not None:
                self._initializer()
            while (download := tasks.get()) is not None:
                try:
                    results.put(Outcome(download, downloaded=self.fetch(download)))
                except StoreError as error:
                    results.put(Outcome(download, error=error))
        except BaseException as error:
            # Anything else is a fault of ours or of the machine: it belongs to whoever waits for the results.
            results.put(error)

    def _own_connections(self) -> Connections:
        from casmodels.downloads.connections import Connections

        mine: Connections | None = getattr(self._of_thread, "connections", None)
        if mine is None:
            mine = Connections(*self._timeouts)
            self._of_thread.connections = mine
            with self._lock:
                self._connections.append(mine)
            if self._stop.is_set():
                mine.abort()
        return mine

    def _report(self, download: Download, change_bytes: int) -> None:
        if self._progress is not None and change_bytes:
            self._progress(download, change_bytes)

    def _discards_new(self, partial: Partial) -> bool:
        return self._discards and not partial.was_begun_before

    def _unlink_hung(self) -> None:
        """Leave no file behind for a thread that nothing could wake, as while a host's name is resolved."""
        with self._lock:
            hung = [partial for partial in self._held if self._discards_new(partial)]
        for partial in hung:
            partial.unlink()

    def _let_go_unseen(self, results: queue.SimpleQueue[Outcome | BaseException]) -> None:
        """Free the locks of finished files that the caller never came to see."""
        with contextlib.suppress(queue.Empty):
            while True:
                result = results.get_nowait()
                if isinstance(result, Outcome) and result.downloaded is not None:
                    if self._discards:
                        result.downloaded.withdraw()
                    else:
                        result.downloaded.release()
