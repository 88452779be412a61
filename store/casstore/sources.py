"""Where blobs come from: a file on disk, or bytes in memory."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from casstore import files
from casstore.errors import ChangedWhileReadError, FailedError, InvalidInputError, NotFoundError


class FileSource:
    """A regular file, read at any offset; notices when it changes under the reading."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self.status = os.fstat(descriptor)

    @property
    def path(self) -> Path:
        """Where the file lies, for a span finder that looks at what lies beside it."""
        return Path(self._path)

    @property
    def size_bytes(self) -> int:
        """The file's size when it was opened."""
        return self.status.st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes ``offset`` to ``offset + length``; fewer only at the file's end. Raises FailedError."""
        length = max(min(length, self.size_bytes - offset), 0)
        try:
            data = os.pread(self._descriptor, length, offset)
            while data and len(data) < length:
                more = os.pread(self._descriptor, length - len(data), offset + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise FailedError(f"{self._path} cannot be read: {error.strerror}") from error
        return data

    def check_unchanged(self) -> None:
        """Raise ChangedWhileReadError unless size, times and inode are what they were."""
        now = os.fstat(self._descriptor)
        for field in ("st_size", "st_mtime_ns", "st_ctime_ns"):
            if getattr(now, field) != getattr(self.status, field):
                raise ChangedWhileReadError(self._path)


class BytesSource:
    """Bytes in memory, as a source."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        return len(self._data)

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes ``offset`` to ``offset + length``; fewer only at the end."""
        return self._data[offset : offset + length]

    def check_unchanged(self) -> None:
        """Bytes never change."""


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[FileSource]:
    """A regular file for reading. Never blocks on a fifo.

    Raises NotFoundError, or InvalidInputError for anything that is no regular file or may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist") from error
    except PermissionError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error
    except OSError as error:
        raise files.explain(error, path) or InvalidInputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        source = FileSource(descriptor, str(path))
        if not stat.S_ISREG(source.status.st_mode):
            raise InvalidInputError(f"{path} is not a regular file")
        yield source
    finally:
        os.close(descriptor)
