"""Links of every kind, and whether a file system has them.

Reflinks (own inode, shared extents until written to) and hard links are second copies that cost nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Final

from casmodels.views.targets import TEMPORARY_PREFIX, TEMPORARY_SUFFIX
from casstore import files

_FICLONE: Final = 0x40049409
"""Linux, include/uapi/linux/fs.h: _IOW(0x94, 9, int)."""
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
_PROBE_BYTES: Final = 1 << 16


def temporary_in(directory: Path) -> Path:
    """A path for something unfinished; `is_temporary` knows it."""
    return directory / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"


def clone(source: int, target: Path) -> int | None:
    """Make ``target``, which must not exist, a reflink of an open file; gives its descriptor, open for writing.

    None, and nothing there, where the file system cannot do that, or the two lie on different ones.
    """
    if sys.platform == "darwin":
        return _clone_on_macos(source, target)
    if sys.platform == "win32":
        return None
    import fcntl

    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        fcntl.ioctl(descriptor, _FICLONE, source)
    except OSError:
        os.close(descriptor)
        target.unlink()
        return None
    return descriptor


def _clone_on_macos(source: int, target: Path) -> int | None:
    """clonefile(2) by descriptor; the flags 0 copy neither owner nor anything through a link."""
    import ctypes

    fclonefileat = ctypes.CDLL(None).fclonefileat
    here = -2  # AT_FDCWD; the path is absolute anyway
    if fclonefileat(ctypes.c_int(source), ctypes.c_int(here), os.fsencode(target), ctypes.c_uint32(0)) != 0:
        return None
    return os.open(target, os.O_RDWR | os.O_CLOEXEC)


def can_clone(directory: Path) -> bool:
    """Whether the file system of a directory makes reflinks: tried with a small file.

    On Linux it has no name, so that a kill leaves nothing: the directory may be one that nobody cleans up.
    """
    if sys.platform == "darwin":
        return _can_clone_by_name(directory)
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        with (
            tempfile.TemporaryFile(dir=directory, buffering=0) as original,
            tempfile.TemporaryFile(dir=directory, buffering=0) as copy,
        ):
            original.write(bytes(_PROBE_BYTES))
            fcntl.ioctl(copy, _FICLONE, original.fileno())
    except OSError:
        return False
    return True


def _can_clone_by_name(directory: Path) -> bool:
    original, copy = temporary_in(directory), temporary_in(directory)
    try:
        descriptor = os.open(original, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        os.write(descriptor, bytes(_PROBE_BYTES))
        cloned = clone(descriptor, copy)
        if cloned is not None:
            os.close(cloned)
        return cloned is not None
    except OSError:
        return False
    finally:
        os.close(descriptor)
        for path in (original, copy):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def can_link(directory: Path) -> bool:
    """Whether the file system of a directory has symbolic links: tried. Where nothing may be written it is assumed.

    A kill leaves the trial there, so it has to be a directory that is cleaned up.
    """
    trial = temporary_in(directory)
    try:
        trial.symlink_to("nowhere")
    except NotImplementedError:
        return False
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        if error.errno in (errno.EACCES, errno.EROFS):
            return True
        raise files.explain(error, directory) or error from error
    trial.unlink(missing_ok=True)  # whoever cleans up there may have been faster
    return True


def put_link(staging: Path, path: Path, target: str) -> None:
    """Put a symbolic link in place of what is at a path, in one step. Nothing is left in ``staging`` if that fails:
    there it may lead somewhere else than where it belongs."""
    temporary = temporary_in(staging)
    files.make_link(temporary, target)
    try:
        files.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def hard_link(source: Path, target: Path) -> bool:
    """Make ``target`` another name of ``source``; False where that cannot be (another file system, too many links)."""
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        return False
    return True
