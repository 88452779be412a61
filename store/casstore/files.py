"""The seam: the only place that writes, fsyncs, renames, truncates and unlinks.

Everything durable goes through these functions, so that a test can count, fail, tear or kill at every single call
(`casstore.testing.faults`). An OSError that has a well-known remedy leaves here as the engine's own error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from casstore.buffers import Buffer
from casstore.errors import DiskError, FailedError, FullError, NotWritableError, StoreError, TooManyFilesError

Hook: TypeAlias = Callable[[str, str], None]
"""Called with the operation's name and the path before each call that changes the disk."""

_hook: Hook | None = None

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_COPY = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_COPY_BYTES = 1 << 20
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
_TOO_MANY = {errno.EMFILE, errno.ENFILE}


def set_hook(hook: Hook | None) -> Hook | None:
    """Install (or with None, take away) the test hook; gives the one before."""
    global _hook
    before, _hook = _hook, hook
    return before


def announce(operation: str, path: str | Path) -> None:
    """Say that the disk is about to change; for changes that do not go through this module, such as SQLite's."""
    if _hook is not None:
        _hook(operation, str(path))


def explain(error: OSError, path: str | Path) -> StoreError | None:
    """The engine's error for an OSError that has a well-known remedy, else None."""
    if error.errno in _FULL:
        return FullError(
            f"no space left while writing {path}", remedy="free some space, then run the same command again"
        )
    if error.errno in _NOT_WRITABLE:
        return NotWritableError(f"{path} is not writable", remedy="check who owns it and how it is mounted")
    if error.errno == errno.EIO:
        return DiskError(f"{path} cannot be read or written: input/output error")
    if error.errno in _TOO_MANY:
        return TooManyFilesError(str(path))
    return None


def unreadable(error: OSError, path: str | Path, what: str) -> StoreError:
    """The engine's own error for one that reading gave: what `explain` knows, or that ``what`` cannot be read."""
    return explain(error, path) or FailedError(f"{what} cannot be read: {error.strerror}")


@contextlib.contextmanager
def translated(path: str | Path) -> Iterator[None]:
    """Turn an OSError from inside into the engine's own where `explain` knows one."""
    try:
        yield
    except OSError as error:
        known = explain(error, path)
        if known is not None:
            raise known from error
        raise


def make_directory(path: Path) -> None:
    """Create a directory and its parents, each made durable in its parent; one that exists is left alone.

    Raises NotWritableError where something else lies in its place.
    """
    if path.is_dir():
        return
    make_directory(path.parent)
    with translated(path):
        announce("mkdir", path)
        try:
            path.mkdir(mode=0o777)
        except FileExistsError as error:
            if not path.is_dir():
                raise NotWritableError(f"{path} is in the way: it is not a directory") from error
    sync_directory(path.parent)


def write_all(descriptor: int, data: Buffer, path: str | Path, *, called: Path | None = None) -> None:
    """Write every byte at the descriptor's position; ``called`` is what errors name in place of a temporary file."""
    view = memoryview(data).cast("B")
    with translated(called or path):
        while view:
            announce("write", path)
            view = view[os.write(descriptor, view) :]


def write_parts(descriptor: int, parts: Sequence[Buffer], path: str | Path) -> None:
    """Write buffers one after the other, without joining them first."""
    views = [memoryview(part).cast("B") for part in parts]
    with translated(path):
        announce("write", path)
        written = os.writev(descriptor, views)
    for view in views:
        if written < len(view):
            write_all(descriptor, view[written:], path)
        written = max(written - len(view), 0)


def copy_all(source: int, descriptor: int, size_bytes: int, path: str | Path) -> None:
    """Append a file's first ``size_bytes`` to another, inside the kernel where it can; fewer if it has no more."""
    offset = 0
    in_kernel = hasattr(os, "copy_file_range")
    with translated(path):
        while offset < size_bytes:
            announce("write", path)
            try:
                copied = _copy_some(source, descriptor, offset, size_bytes - offset, in_kernel=in_kernel)
            except OSError as error:
                if not in_kernel or error.errno not in _NO_COPY:
                    raise
                in_kernel = False
                continue
            if not copied:
                return
            offset += copied


def _copy_some(source: int, descriptor: int, offset: int, length: int, *, in_kernel: bool) -> int:
    if in_kernel:
        return os.copy_file_range(source, descriptor, length, offset)
    return os.write(descriptor, os.pread(source, min(length, _COPY_BYTES), offset))


def sync_file(descriptor: int, path: str | Path, *, called: Path | None = None) -> None:
    """Bring a file's data to the platter (fdatasync; F_FULLFSYNC on macOS); ``called`` as in `write_all`."""
    with translated(called or path):
        announce("fsync", path)
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        elif hasattr(os, "fdatasync"):
            os.fdatasync(descriptor)
        else:
            os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Bring a directory's entries to the platter; Windows has no such call."""
    if sys.platform == "win32":
        return
    with translated(path):
        announce("fsync", path)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Replace ``target`` by ``source`` in one step; durable only after `sync_directory`."""
    with translated(target):
        announce("rename", target)
        source.replace(target)


def make_link(path: Path, target: str) -> None:
    """Make a symbolic link; durable only after `sync_directory`."""
    with translated(path):
        announce("symlink", path)
        path.symlink_to(target)


def unlink(path: Path, *, missing_ok: bool = True) -> None:
    """Remove a file."""
    with translated(path):
        announce("unlink", path)
        path.unlink(missing_ok=missing_ok)


def truncate(descriptor: int, size_bytes: int, path: str | Path) -> None:
    """Cut an open file to a size."""
    with translated(path):
        announce("truncate", path)
        os.ftruncate(descriptor, size_bytes)


def write_atomically(path: Path, data: Buffer, *, mode: int = 0o666, temporary: Path | None = None) -> None:
    """Give ``path`` these bytes in one durable step: a reader sees the old file or the new one, whole.

    ``temporary`` is what it is called until then, for those who have names of their own for what a kill may leave.
    """
    temporary = temporary or path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with translated(path):
            announce("create", temporary)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            write_all(descriptor, data, temporary, called=path)
            sync_file(descriptor, temporary, called=path)
        finally:
            os.close(descriptor)
        rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError, StoreError):
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def is_still(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one that the path names."""
    mine = os.fstat(descriptor)
    try:
        theirs = path.stat()
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino)
