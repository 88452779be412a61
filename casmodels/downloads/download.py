"""What is asked of a `Downloader` and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from casstore.digests import Digest
from casstore.errors import StoreError

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Credentials:
    """A token and the one endpoint that may see it."""

    endpoint: str
    token: str = field(repr=False)

    def allow(self, url: str) -> bool:
        """Whether a URL has the endpoint's origin: the same scheme, host and port."""
        return _origin(url) == _origin(self.endpoint)


@dataclass(frozen=True, slots=True)
class Location:
    """One place where a file's bytes can be had. ``terms_page`` is where a person asks for access to a gated
    repo.
    """

    url: str
    credentials: Credentials | None = None
    terms_page: str | None = None


@dataclass(frozen=True, slots=True)
class Download:
    """A file to fetch.

    ``name`` is what messages call it. ``key`` names its partial file: letters, digits, ``.``, ``_`` and
    ``-``, and the same in every run that wants the same bytes. ``locations`` are tried in order; a wrong byte
    or a failure at one leads to the next. ``expected`` is the SHA-256 or git blob id of the bytes, or None to
    take what comes. ``still_needed`` is asked right before the first request, when no other process works on
    the same key: False ends the download without a result.
    """

    name: str
    key: str
    locations: tuple[Location, ...]
    size_bytes: int | None = None
    expected: Digest | None = None
    still_needed: Callable[[], bool] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A whole, verified file, locked against other processes until it is let go.

    Call `discard` when the bytes are safe elsewhere, `release` to keep the file for the next run, or
    `withdraw` when nobody wants it any more. ``downloaded_bytes`` counts what came over the network in this
    run; ``was_begun_before`` when some had come in an earlier one; ``git`` is known when it was asked for.
    """

    download: Download
    path: Path
    size_bytes: int
    sha256: Digest
    git: Digest | None
    downloaded_bytes: int
    etag: str | None
    url: str
    disposition: str | None
    seconds: float
    was_begun_before: bool
    _let_go: Callable[[bool], None] = field(repr=False, compare=False)

    def discard(self) -> None:
        """Remove the file and its sidecar, and free the lock."""
        self._let_go(True)

    def release(self) -> None:
        """Free the lock and keep the file: the next run finds it complete."""
        self._let_go(False)

    def withdraw(self) -> None:
        """Remove the file, unless an earlier run had left it unfinished: that one's work is kept."""
        self._let_go(not self.was_begun_before)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one download ended: ``downloaded``, or ``error``, or neither when it was no longer needed."""

    download: Download
    downloaded: Downloaded | None = None
    error: StoreError | None = None


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme)
