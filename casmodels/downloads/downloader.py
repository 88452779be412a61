"""Several downloads at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from casmodels.downloads.download import Download, Downloaded, Outcome
from casmodels.downloads.retries import RetryPolicy


class Downloader:
    """Fetches files into partial files in one directory.

    ``initializer`` runs first in every worker thread (for low priority). ``progress(download, change_bytes)`` is called
    from the workers; the change is negative when a file has to start over. ``stall_seconds`` without a byte ends a
    connection, which is then resumed.
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
    ) -> None:
        raise NotImplementedError

    def fetch(self, download: Download) -> Downloaded | None:
        """Fetch one file in this thread; None when it is no longer needed.

        Raises WrongBytesError, NetworkError, AccessError, MissingUpstreamError, UpstreamError, InterruptedPullError
        after `cancel`, FullError and NotWritableError.
        """
        raise NotImplementedError

    def fetch_all(self, downloads: Iterable[Download]) -> Iterator[Outcome]:
        """Fetch all, giving each as it ends, in the order in which they end.

        At most ``workers + 2`` finished or running files exist at a time: the next begins when the caller comes back for
        more. Leaving the loop early stops the workers and keeps the partial files.
        """
        raise NotImplementedError

    def cancel(self) -> None:
        """Stop everything soon, from any thread; partial files are kept."""
        raise NotImplementedError
