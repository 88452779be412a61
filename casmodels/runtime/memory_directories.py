"""Directories for files in memory, and for those that libraries insist on, which outlive a kill as little as can be.

A process holds an flock on each of its own, which the kernel frees when it dies: then the next to come by removes it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from casstore import files

SHARED: Final = Path("/dev/shm")
_PREFIX: Final = "casmodels-memory-"
_NAME: Final = re.compile(_PREFIX + r"[a-z0-9_]{8}\Z")
_PATH: Final = re.compile(r"(?:/[^\s'\"`]*)?/" + _PREFIX + r"[a-z0-9_]{8}(?:/(?=[^\s'\"`]))?")
_MODE: Final = 0o700


@contextmanager
def memory_directory(place: Path | None = None) -> Iterator[Path]:
    """An empty directory, there while the block runs; ``place`` is where, else where the system has such things."""
    path, lock = _made(place)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def remove_dead(*, dry_run: bool = False) -> tuple[int, int]:
    """Remove those of this user whose process is dead; gives how many files they held, and their bytes."""
    count = size_bytes = 0
    for place in {Path(tempfile.gettempdir()), SHARED}:
        with suppress(OSError):
            for path in [each for each in place.iterdir() if _NAME.match(each.name)]:
                with suppress(OSError), _claimed(path):
                    found = _files(path)
                    if not dry_run:
                        shutil.rmtree(path)
                    count += len(found)
                    size_bytes += sum(found)
    return count, size_bytes


def without_paths(text: str, called: str) -> str:
    """A text in which paths of files in such directories begin there, and the directory itself is ``called`` so."""
    return _PATH.sub(lambda found: "" if found[0].endswith("/") else called, text)


def _made(place: Path | None) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        with suppress(FileNotFoundError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with suppress(OSError):  # where directories have no locks, nobody can claim it either
                fcntl.flock(lock, fcntl.LOCK_EX)
            # Another may have found it before it was locked, taken it for a dead one's, and removed it.
            if files.is_still(path, lock):
                return path, lock
            os.close(lock)


@contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """The lock on a directory of ours. Raises OSError when its process lives, or when it is anybody else's."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != _MODE:
            raise PermissionError(path)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _files(path: Path) -> list[int]:
    """The sizes in bytes of the files in it; those of links are 0, as what they led to is gone."""
    inside = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    return [0 if each.is_symlink() else each.lstat().st_size for each in inside]
