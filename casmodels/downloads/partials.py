"""Unfinished downloads on disk: ``<key>.part``, and beside it a sidecar that says what it is part of.

The size of the ``.part`` file is the only truth about how much has come. It is not synced, so after a power
cut it may hold zeros: whoever resumes a file without an expected digest does so only within the same boot of
the machine. A process holds a partial file with a flock on it, which the kernel frees when the process dies.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from casmodels.downloads.download import Download
from casmodels.errors import InterruptedPullError
from casstore import files
from casstore.buffers import Buffer
from casstore.errors import InvalidInputError, UnfitFileSystemError

_KEY: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}\Z")
_PART: Final = ".part"
_SIDECAR: Final = ".part.json"
_FORMAT: Final = 1
_SMALL_BYTES: Final = 1 << 20
"""Files below this are fetched again rather than resumed, which saves the sidecar."""
_BLOCK_BYTES: Final = 1 << 20
_WAIT_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 2.0
_PATIENCE_BYTES_PER_SECOND: Final = 64 << 20
"""How long whoever has a whole file is given to store it and let it go."""
_SAME_BOOT_SECONDS: Final = 60.0
"""By how much the clock's idea of the boot may move without a boot in between."""
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class PartialFile:
    """An unfinished download that nobody is working on."""

    path: Path
    size_bytes: int


class Partial:
    """The partial file of one download, held by this process."""

    def __init__(self, path: Path, download: Download, descriptor: int, *, is_copy: bool = False) -> None:
        self.path = path
        self.etag: str | None = None
        self._sidecar = path.with_name(path.name.removesuffix(_PART) + _SIDECAR)
        self._download = download
        self._descriptor = descriptor
        self._is_copy = is_copy
        self._url_digest: str | None = None
        self._is_gone = False
        self._going = threading.Lock()
        self.size_bytes = os.fstat(descriptor).st_size
        if not is_copy:
            self._take_over()
        self.was_begun_before = self.size_bytes > 0

    @classmethod
    def hold(cls, directory: Path, download: Download, wait: Callable[[float], bool]) -> Partial:
        """Open and lock it, waiting for whoever holds it.

        Who holds a file that is whole may be waiting for another file in turn, and that other's holder for
        this one. So when a whole file is not let go, its bytes are copied to a file of our own, to be
        verified like any others.

        Raises InterruptedPullError when ``wait`` says so, NotWritableError, UnfitFileSystemError.
        """
        if not _KEY.match(download.key):
            raise InvalidInputError(f"{download.key!r} cannot be the key of a download")
        files.make_directory(directory)
        path = directory / f"{download.key}{_PART}"
        patience_seconds = _PATIENCE_SECONDS + (download.size_bytes or 0) / _PATIENCE_BYTES_PER_SECOND
        while True:
            descriptor = _open(path, os.O_CREAT)
            try:
                if _lock(descriptor, path) and _names(path, descriptor):
                    return cls(path, download, descriptor)
                if patience_seconds <= 0:
                    return cls._copy(directory, download, descriptor)
                if _is_whole(descriptor, download):
                    patience_seconds -= _WAIT_SECONDS
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            if wait(_WAIT_SECONDS):
                raise InterruptedPullError(f"{download.name} was interrupted", remedy="the next run resumes")

    @classmethod
    def _copy(cls, directory: Path, download: Download, original: int) -> Partial:
        """The bytes of a whole file that another holds, in a file that nobody else knows; closes the
        original.
        """
        path = directory / f"{download.key}.{secrets.token_hex(8)}{_PART}"
        partial = cls(path, download, _open(path, os.O_CREAT | os.O_EXCL), is_copy=True)
        try:
            _lock(partial._descriptor, path)
            for block in _blocks_of(original):
                partial.append(block)
        except BaseException:
            partial.let_go(remove=True)
            raise
        os.close(original)
        return partial

    def validator_for(self, url: str) -> str | None:
        """The strong ETag under which these bytes came from that very URL, or None."""
        return self.etag if self._url_digest == _digest_of(url) else None

    def may_resume_from(self, url: str) -> bool:
        """Whether the bytes that are here may be continued with those of a URL.

        With an expected digest, yes: the end tells. Without one, only under the same URL and ETag.
        """
        return self._download.expected is not None or self.validator_for(url) is not None

    def blocks(self) -> Iterator[bytes]:
        """The bytes that are here, from the start."""
        return _blocks_of(self._descriptor)

    def append(self, data: Buffer) -> None:
        """Write at the end. Raises FullError."""
        os.lseek(self._descriptor, self.size_bytes, os.SEEK_SET)
        files.write_all(self._descriptor, data, self.path)
        self.size_bytes += len(data)

    def start_over(self) -> None:
        """Forget every byte."""
        if self.size_bytes:
            files.truncate(self._descriptor, 0, self.path)
            self.size_bytes = 0

    def describe(self, url: str, etag: str | None, total_bytes: int | None) -> None:
        """Note where the bytes come from, before the first of them is written."""
        if (etag, _digest_of(url)) == (self.etag, self._url_digest):
            return
        self.etag, self._url_digest = etag, _digest_of(url)
        if total_bytes is not None and total_bytes < _SMALL_BYTES:
            return
        record = {
            "format": _FORMAT,
            "url_sha256": self._url_digest,
            "etag": etag,
            "expected": _text(self._download),
            "size_bytes": self._download.size_bytes,
            "booted_seconds": _booted_seconds() if self._download.expected is None else None,
        }
        files.write_atomically(self._sidecar, json.dumps(record).encode())

    def let_go(self, *, remove: bool) -> None:
        """Free the lock, keeping the file or not (a copy never); again is harmless."""
        with self._going:
            if self._descriptor < 0:
                return
            descriptor, self._descriptor = self._descriptor, -1
            try:
                if remove or self._is_copy:
                    self._unlink()
            finally:
                os.close(descriptor)

    def unlink(self) -> None:
        """Remove the file from under a thread that hangs with it; that thread frees the lock when it ends."""
        with self._going:
            if self._descriptor >= 0:
                self._unlink()

    def _unlink(self) -> None:
        # Once only: another may have a file of that name by then.
        if not self._is_gone:
            self._is_gone = True
            files.unlink(self._sidecar)
            files.unlink(self.path)

    def _take_over(self) -> None:
        """Keep what an earlier process left where its sidecar says that it is part of the same thing."""
        record = _read(self._sidecar)
        booted = record.get("booted_seconds")
        same = (
            record.get("format") == _FORMAT
            and record.get("expected") == _text(self._download)
            and record.get("size_bytes") == self._download.size_bytes
            and (self._download.expected is not None or _is_this_boot(booted))
        )
        if not same:
            self.start_over()
            return
        etag, url_digest = record.get("etag"), record.get("url_sha256")
        self.etag = etag if isinstance(etag, str) else None
        self._url_digest = url_digest if isinstance(url_digest, str) else None


def list_partials(directory: Path) -> list[PartialFile]:
    """The unfinished downloads in a directory that no process holds, by name."""
    return [found for found, _ in _unheld(directory)]


def remove_partials(directory: Path) -> list[PartialFile]:
    """Remove the unfinished downloads that no process holds; gives what was removed."""
    removed = []
    for found, sidecar in _unheld(directory):
        files.unlink(sidecar)
        files.unlink(found.path)
        removed.append(found)
    return removed


def _unheld(directory: Path) -> Iterator[tuple[PartialFile, Path]]:
    """Each unheld partial file and its sidecar; it is held while the caller looks at it."""
    for path in sorted(directory.glob(f"*{_PART}")) if directory.is_dir() else []:
        with contextlib.suppress(FileNotFoundError):
            descriptor = _open(path, 0)
            try:
                if _lock(descriptor, path) and _names(path, descriptor):
                    sidecar = path.with_name(path.name.removesuffix(_PART) + _SIDECAR)
                    yield PartialFile(path, os.fstat(descriptor).st_size), sidecar
            finally:
                os.close(descriptor)


def _open(path: Path, flags: int) -> int:
    with files.translated(path):
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o666)


def _blocks_of(descriptor: int) -> Iterator[bytes]:
    position = 0
    while block := os.pread(descriptor, _BLOCK_BYTES, position):
        yield block
        position += len(block)


def _is_whole(descriptor: int, download: Download) -> bool:
    """Whether a file has its full size, and there is a digest that will tell if that is all that is right
    with it.
    """
    return download.expected is not None and os.fstat(descriptor).st_size == download.size_bytes


def _lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise UnfitFileSystemError(
                f"file locks do not work on the file system of {path}", remedy="put the store on a local disk"
            ) from error
        raise
    return True


def _names(path: Path, descriptor: int) -> bool:
    """Whether the path still names the open file: it may have been unlinked between opening and locking."""
    mine = os.fstat(descriptor)
    try:
        theirs = path.lstat()
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino)


def _read(sidecar: Path) -> dict[str, Any]:
    try:
        record = json.loads(sidecar.read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _text(download: Download) -> str | None:
    return str(download.expected) if download.expected is not None else None


def _digest_of(url: str) -> str:
    """A URL may carry secrets (signatures, passwords), so only its digest is kept."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def _booted_seconds() -> float:
    import psutil

    return float(psutil.boot_time())


def _is_this_boot(booted_seconds: object) -> bool:
    return isinstance(booted_seconds, int | float) and abs(booted_seconds - _booted_seconds()) < _SAME_BOOT_SECONDS
