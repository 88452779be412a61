"""Leases and locks: claims that the kernel frees when their process dies.

There are no pids, no clocks and nothing to clear by hand. A lease is an flock on a file of its own in ``leases/``; gc
lists the leases that are open and waits for them. A lock is an flock on one well-known file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from casstore import files
from casstore.errors import BusyError, UnfitFileSystemError

_FIRST_WAIT_SECONDS = 0.002
_LONGEST_WAIT_SECONDS = 0.1
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class Lease:
    """One running operation's claim on the store."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._process = os.getpid()

    @property
    def name(self) -> str:
        """The lease's file name."""
        return self._path.name

    @classmethod
    def take(cls, directory: Path) -> Lease:
        """Make a lease. Raises NotWritableError or UnfitFileSystemError where that cannot be."""
        while True:
            path = directory / uuid.uuid4().hex
            with files.translated(directory):
                files.announce("lease", path)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            _flock(descriptor, fcntl.LOCK_EX, path)
            # A listing may have found the file before it was locked, taken it for a dead one's, and unlinked it.
            if files.is_still(path, descriptor):
                return cls(path, descriptor)
            os.close(descriptor)

    def release(self) -> None:
        """End the claim. In a forked child only the descriptor is closed: the claim is the parent's."""
        if os.getpid() == self._process:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def open_leases(directory: Path) -> list[str]:
    """The names of the leases that are held now; files of dead processes are unlinked on the way."""
    held = []
    for path in sorted(directory.iterdir()):
        with contextlib.suppress(FileNotFoundError), files.translated(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
            except BlockingIOError:
                held.append(path.name)
            finally:
                os.close(descriptor)
    return held


def wait_for_leases(directory: Path, names: Iterable[str], wait_seconds: float) -> bool:
    """Wait until every lease of that name has ended; False when some are still held after ``wait_seconds``."""
    deadline = time.monotonic() + wait_seconds
    for name in names:
        pause = _FIRST_WAIT_SECONDS
        while _is_held(directory / name):
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_WAIT_SECONDS)
    return True


@contextlib.contextmanager
def exclusive(path: Path, wait_seconds: float, *, busy: str) -> Iterator[None]:
    """Hold the lock of a file; BusyError with the sentence ``busy`` when it cannot be had in time."""
    process = os.getpid()
    with files.translated(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + wait_seconds
        pause = _FIRST_WAIT_SECONDS
        while True:
            try:
                _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, path)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise BusyError(busy, remedy="wait for the other command to end, then try again") from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_WAIT_SECONDS)
        yield
    finally:
        # A child forked meanwhile has the descriptor too: closing ours would leave the lock with it. And a child that
        # comes by here must not unlock what its parent holds.
        if os.getpid() == process:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _flock(descriptor: int, operation: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise UnfitFileSystemError(
                f"file locks do not work on the file system of {path}", remedy="put the store on a local disk"
            ) from error
        raise


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
