"""What a download gives back."""

from __future__ import annotations

from dataclasses import dataclass

from casmodels.results import PullStatus

_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """How one model's download ended.

    ``path`` is the snapshot directory to load the model from, as a string, since not every library takes a `Path`;
    ``error`` is a sentence that says what to do, and the other is None. ``size_bytes`` is the whole model's,
    ``downloaded_bytes`` what came over the network for it.
    """

    model: str
    status: PullStatus
    path: str | None = None
    size_bytes: int = 0
    downloaded_bytes: int = 0
    duration_seconds: float = 0.0
    error: str | None = None

    @property
    def size_mb(self) -> float:
        """The size in MB: millions of bytes."""
        return self.size_bytes / _MEGABYTE
