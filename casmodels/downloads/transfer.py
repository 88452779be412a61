"""One file from the first request to the verified end."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from casmodels.downloads.connections import Connections, Stream
from casmodels.downloads.download import Download, Downloaded, Location
from casmodels.downloads.partials import Partial
from casmodels.downloads.retries import Attempts, RetryPolicy, TransientError
from casmodels.errors import InterruptedPullError, MissingUpstreamError, UpstreamError, WrongBytesError
from casstore.buffers import Buffer
from casstore.digests import GIT_BLOB, SHA256, Digest, git_blob_hasher
from casstore.errors import StoreError

_SLOW_SECONDS: Final = 60.0
_SLOW_BYTES: Final = 60 * 1024
"""Fewer bytes than this in that time count as a stall: a trickle can outwait any read timeout."""
_WEB_PAGE: Final = re.compile(rb"\s*(?:<!doctype\s+html|<html[\s>])", re.IGNORECASE)
_WEB_PAGE_TYPES: Final = frozenset({"text/html", "application/xhtml+xml"})
_WEB_PAGE_NAME: Final = re.compile(r"\.x?html?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Control:
    """What a transfer shares with its `Downloader`: the stop signal, the clocks, and who listens."""

    stop: threading.Event
    wait: Callable[[float], bool]
    jitter: Callable[[], float]
    clock: Callable[[], float]
    retries: RetryPolicy
    report: Callable[[Download, int], None]


class Transfer:
    """The work on one download, with its partial file held."""

    def __init__(self, download: Download, partial: Partial, connections: Connections, control: Control) -> None:
        self._download = download
        self._partial = partial
        self._connections = connections
        self._control = control
        self._hashes = _Hashes(download)
        self._received_bytes = 0
        self._disposition: str | None = None

    def run(self) -> Downloaded:
        """Fetch and verify, from one location after the other. The partial file stays held on success.

        Raises what `Downloader.fetch` does; with several locations, a wrong byte before any other failure.
        """
        began = self._control.clock()
        self._read_what_is_here()
        errors: list[StoreError] = []
        for location in self._download.locations:
            try:
                self._fetch(location)
            except (UpstreamError, MissingUpstreamError, WrongBytesError) as error:
                errors.append(error)
                continue
            return Downloaded(
                download=self._download,
                path=self._partial.path,
                size_bytes=self._partial.size_bytes,
                sha256=self._hashes.sha256,
                git=self._hashes.git,
                downloaded_bytes=self._received_bytes,
                etag=self._partial.etag,
                url=location.url,
                disposition=self._disposition,
                seconds=self._control.clock() - began,
                was_begun_before=self._partial.was_begun_before,
                _let_go=lambda remove: self._partial.let_go(remove=remove),
            )
        raise next((error for error in errors if isinstance(error, WrongBytesError)), errors[-1])

    def _read_what_is_here(self) -> None:
        size_bytes = self._download.size_bytes
        if size_bytes is not None and self._partial.size_bytes > size_bytes:
            self._partial.start_over()
        for block in self._partial.blocks():
            self._check_stopped()
            self._hashes.update(block)
        self._control.report(self._download, self._partial.size_bytes)

    def _fetch(self, location: Location) -> None:
        """Have every byte and verify. Bytes that came from elsewhere get the blame once before this location
        does.
        """
        may_resume = self._partial.may_resume_from(location.url)
        is_inherited = may_resume and self._partial.size_bytes > 0
        while True:
            try:
                self._complete(location)
                self._verify(location)
            except WrongBytesError:
                self._start_over()
                if not is_inherited:
                    raise
                is_inherited = False
            else:
                return

    def _complete(self, location: Location) -> None:
        control = self._control
        attempts = Attempts(self._download.name, control.retries, wait=control.wait, jitter=control.jitter)
        while not self._is_known_whole():
            before = self._partial.size_bytes
            try:
                self._receive(location)
            except TransientError as failure:
                self._check_stopped()
                attempts.failed(failure, progressed=self._partial.size_bytes > before)
            else:
                return

    def _is_known_whole(self) -> bool:
        return self._download.expected is not None and self._partial.size_bytes == self._download.size_bytes

    def _receive(self, location: Location) -> None:
        """One request: bring what is still missing, as far as it comes."""
        self._check_stopped()
        partial = self._partial
        if partial.size_bytes and not partial.may_resume_from(location.url):
            self._start_over()
        validator = partial.validator_for(location.url)
        stream = self._connections.open(self._download, location, partial.size_bytes, validator)
        try:
            self._check_stopped()
            self._disposition = stream.headers.get("Content-Disposition")
            if not stream.is_complete:
                self._take(stream, location, validator)
        finally:
            stream.close()

    def _take(self, stream: Stream, location: Location, validator: str | None) -> None:
        etag = stream.strong_etag
        is_changed = stream.start > 0 and validator is not None and etag not in (None, validator)
        if stream.is_misplaced or is_changed:
            self._start_over()
            raise TransientError(f"{stream.host} has another state of the file than before")
        data = stream.read()
        if stream.start == 0:
            self._refuse_what_is_no_file(stream, data)
            self._start_over()
        total_bytes = stream.total_bytes
        if self._download.size_bytes is not None and total_bytes not in (None, self._download.size_bytes):
            raise self._wrong(location, f"has {total_bytes} bytes, expected {self._download.size_bytes}")
        # A 206 without an ETag is still of the state that the validator named.
        self._partial.describe(
            location.url,
            etag or (validator if stream.start else None),
            self._download.size_bytes or total_bytes,
        )
        self._pump(stream, location, data)

    def _pump(self, stream: Stream, location: Location, data: bytes) -> None:
        size_bytes = self._download.size_bytes
        expected_bytes = size_bytes if size_bytes is not None else stream.total_bytes
        window_began, window_bytes = self._control.clock(), 0
        while data:
            # Bytes that were read while the connection was being aborted are not to be trusted.
            self._check_stopped()
            if expected_bytes is not None and self._partial.size_bytes + len(data) > expected_bytes:
                raise self._wrong(location, f"goes on after its {expected_bytes} bytes")
            self._partial.append(data)
            self._hashes.update(data)
            self._received_bytes += len(data)
            self._control.report(self._download, len(data))
            window_bytes += len(data)
            now = self._control.clock()
            if now - window_began >= _SLOW_SECONDS:
                if window_bytes < _SLOW_BYTES:
                    raise TransientError(f"{stream.host} all but stopped sending")
                window_began, window_bytes = now, 0
            data = stream.read()
        self._check_stopped()
        if expected_bytes is not None and self._partial.size_bytes < expected_bytes:
            raise TransientError(
                f"{stream.host} ended the stream after {self._partial.size_bytes} of {expected_bytes} bytes"
            )

    def _refuse_what_is_no_file(self, stream: Stream, data: bytes) -> None:
        """Raise UpstreamError for a web page or a compressed body in the file's place; what is here already
        stays.
        """
        size_bytes, name = self._download.size_bytes, self._download.name
        if size_bytes is not None and stream.total_bytes == size_bytes:
            return
        is_page = stream.media_type in _WEB_PAGE_TYPES or _WEB_PAGE.match(data) is not None
        if is_page and not _WEB_PAGE_NAME.search(name):
            raise UpstreamError(
                f"{name}: {stream.host} sent a web page instead of the file",
                remedy="check the address, and whether the network wants a log-in",
            )
        if stream.is_encoded and not name.endswith(".gz"):
            raise UpstreamError(f"{name}: {stream.host} sent the file compressed, though asked not to")

    def _verify(self, location: Location) -> None:
        expected = self._download.expected
        actual = self._hashes.git if expected is not None and expected.algorithm == GIT_BLOB else self._hashes.sha256
        if expected is not None and actual != expected:
            raise self._wrong(location, f"has digest {actual}, expected {expected}")

    def _wrong(self, location: Location, how: str) -> WrongBytesError:
        host = urlsplit(location.url).hostname
        return WrongBytesError(
            f"{self._download.name} came wrong from {host}: it {how}",
            remedy="run the same command again; should it stay so, do not trust that place",
        )

    def _start_over(self) -> None:
        if self._partial.size_bytes:
            self._control.report(self._download, -self._partial.size_bytes)
            self._partial.start_over()
            self._hashes = _Hashes(self._download)

    def _check_stopped(self) -> None:
        if self._control.stop.is_set():
            raise InterruptedPullError(f"{self._download.name} was interrupted", remedy="the next run resumes")


class _Hashes:
    """The digests of what has come so far."""

    def __init__(self, download: Download) -> None:
        self._sha256 = hashlib.sha256()
        self._git: hashlib._Hash | None = None
        if download.expected is not None and download.expected.algorithm == GIT_BLOB:
            if download.size_bytes is None:
                raise ValueError("a git blob id can be checked only where the size is known")
            self._git = git_blob_hasher(download.size_bytes)

    def update(self, data: Buffer) -> None:
        self._sha256.update(data)
        if self._git is not None:
            self._git.update(data)

    @property
    def sha256(self) -> Digest:
        return Digest(SHA256, self._sha256.digest())

    @property
    def git(self) -> Digest | None:
        return Digest(GIT_BLOB, self._git.digest()) if self._git is not None else None
