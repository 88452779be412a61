"""Directories that are going to be written to: whether they may be, whether there is room, and whose turn it is."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from casstore import files
from casstore.errors import BusyError, FailedError, FullError, InvalidInputError

TEMPORARY_PREFIX = ".casmodels-"
TEMPORARY_SUFFIX = ".tmp"
_SPARE_BYTES = 1 << 20
"""What is left free for the directories themselves."""


def real_target(directory: Path, store_directory: Path) -> Path:
    """The directory's path with its links followed: the user may well have put a link there.

    Raises InvalidInputError if it is a file, or is the store, lies inside it, or contains it.
    """
    target, store = directory.resolve(), store_directory.resolve()
    existing = nearest_existing(target)
    if not existing.is_dir():
        raise InvalidInputError(f"{existing} is a file, not a directory", remedy="choose another directory")
    if _is_same(target, store):
        raise InvalidInputError(f"{directory} is the store itself", remedy="choose another directory")
    if any(_is_same(parent, store) for parent in target.parents):
        raise InvalidInputError(f"{directory} lies inside the store {store}", remedy="choose another directory")
    if any(_is_same(parent, target) for parent in store.parents):
        raise InvalidInputError(f"{directory} contains the store {store}", remedy="choose another directory")
    return target


def _is_same(one: Path, other: Path) -> bool:
    """By inode too, as one directory may be reached under two names (mounts, upper and lower case)."""
    if one == other:
        return True
    try:
        return one.samefile(other)
    except OSError:
        return False


def check_space(directory: Path, needed_bytes: int) -> None:
    """Raise FullError unless the file system of a directory, which need not exist yet, has room for so much more."""
    if needed_bytes <= 0:
        return
    free_bytes = shutil.disk_usage(nearest_existing(directory)).free
    if needed_bytes + _SPARE_BYTES > free_bytes:
        missing = needed_bytes + _SPARE_BYTES - free_bytes
        raise FullError(
            f"{directory} needs {_mebibytes(needed_bytes)} and its file system has {_mebibytes(free_bytes)} free",
            remedy=f"free {_mebibytes(missing)}, or choose a directory on another disk",
        )


def nearest_existing(directory: Path) -> Path:
    """The directory, or the first one above it that is there."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return directory


def _mebibytes(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.1f} MiB"


def is_temporary(name: str) -> bool:
    """Whether a file name is that of something unfinished which was made here."""
    return name.startswith(TEMPORARY_PREFIX) and name.endswith(TEMPORARY_SUFFIX)


def temporaries(directory: Path) -> list[Path]:
    """What killed runs left unfinished in a directory; call it only while `alone`."""
    try:
        with os.scandir(directory) as entries:
            return [Path(entry.path) for entry in entries if is_temporary(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove_temporaries(directory: Path) -> int:
    """Remove them; gives the bytes they took."""
    freed_bytes = 0
    for path in temporaries(directory):
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path)
        else:
            freed_bytes += status.st_size
            files.unlink(path)
    return freed_bytes


@contextlib.contextmanager
def nameable() -> Iterator[None]:
    """Raise InvalidInputError where a file system cannot hold a name: too long, no text, or a character too many."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EILSEQ, errno.EINVAL, errno.ENAMETOOLONG):
            raise
        name = error.filename2 or error.filename
        raise InvalidInputError(
            f"{name!r} cannot be a name on this file system: {error.strerror}",
            remedy="choose a directory on another file system",
        ) from error


def make_parents(root: Path, path: str) -> None:
    """Make the directories above ``root/path``, never going through a link below ``root``.

    Raises FailedError when something that is no directory has come to lie in the way.
    """
    here = root
    for part in path.split("/")[:-1]:
        here = here / part
        if not os.path.lexists(here):
            files.announce("mkdir", here)
            with files.translated(here), contextlib.suppress(FileExistsError):
                here.mkdir()
        _check_directory(here)


def sync_names(root: Path, paths: Iterable[str]) -> None:
    """Bring the names of what was made or removed to the disk, and those of the directories above: they may be new."""
    real = root.resolve()
    changed = {parent for path in paths for parent in Path(path).parents}
    for directory in sorted(real / parent for parent in changed):
        if directory.is_dir() and directory.resolve() == directory:  # not through a user's link
            files.sync_directory(directory)


def sync_content(path: Path) -> None:
    """Bring a file's bytes to the disk, whoever wrote them."""
    with files.translated(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        files.sync_file(descriptor, path)
    finally:
        os.close(descriptor)


def check_parents(root: Path, path: str) -> None:
    """The same without making any, before something is removed or changed there."""
    here = root
    for part in path.split("/")[:-1]:
        here = here / part
        _check_directory(here)


def _check_directory(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        raise FailedError(f"{path} was a directory and is none any more", remedy="stop what changes it, then try again")


@contextlib.contextmanager
def alone(directory: Path, *, wait: bool = True) -> Iterator[None]:
    """Be the only one that brings a directory to a state. It must exist.

    The lock is the kernel's, on the directory itself: it leaves no file behind and ends with the process. Where
    directories cannot be locked (Windows, some network file systems) two at once do double work, and no harm: each
    file is put in place whole. Raises BusyError without ``wait`` when somebody else is at it.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with files.translated(directory):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            os.close(descriptor)
            raise BusyError(f"{directory} is being written", remedy="try again when that has ended") from error
    try:
        if not _is_at(descriptor, directory):
            raise BusyError(f"{directory} was removed just now", remedy="run the same command again")
        yield
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether a path still leads to what is open."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
