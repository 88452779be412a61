"""Files of a version as Python's file objects: seekable, and a range decodes only the chunks that it touches."""

from __future__ import annotations

import io
import os
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from casmodels.library.context import Context
from casmodels.library.damage import damage_named
from casmodels.library.inventory import file_of
from casmodels.library.names import find
from casstore.blobs import BlobReader

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from casstore.digests import Digest
    from casstore.store import Store as Engine

_BUFFER_BYTES = 1 << 16


def open_path(context: Context, target: str, path: str) -> io.BufferedReader:
    """One file of a version. See `casmodels.library.store.Store.open`."""
    engine = context.engine()
    with engine.reading() as reader:
        found = find(reader, context.registry, target)
        file = StoredFile(engine, file_of(reader, found, path), path, str(found))
    context.opened.add(file)
    return _SizedReader(file, _BUFFER_BYTES)


class _SizedReader(io.BufferedReader):
    """As Python's, but that it knows its size, which fsspec's users ask files for."""

    @property
    def size(self) -> int:
        """The file's bytes."""
        assert isinstance(self.raw, StoredFile)
        return self.raw.size


class StoredFile(io.RawIOBase):
    """A blob as an unbuffered file. It holds a lease of its own until it is closed, which its end does too.

    Threads may share one: each call is whole, but there is one position. A forked child that uses its parent's takes a
    lease of its own first.
    """

    def __init__(self, engine: Engine, blob: Digest, name: str, version: str) -> None:
        super().__init__()
        self.name = name
        self._version = version
        self._engine = engine
        self._digest = blob
        self._position = 0
        self._lock = threading.Lock()
        self._lease = ExitStack()
        self._process = 0
        self._blob = self._opened()

    @property
    def mode(self) -> str:
        """As that of Python's own files."""
        return "rb"

    @property
    def size(self) -> int:
        """The file's bytes."""
        return self._blob.size_bytes

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place; one beyond the end is fine, and has no bytes."""
        self._check_open()
        with self._lock:
            starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._blob.size_bytes}
            if whence not in starts:
                raise ValueError(f"{whence} is no place to count from")
            if starts[whence] + offset < 0:
                raise ValueError("a file has no bytes before its start")
            self._position = starts[whence] + offset
            return self._position

    def tell(self) -> int:
        """Where the next read begins."""
        self._check_open()
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer from here on; gives how many bytes. Raises DamagedError, and then nothing is read."""
        self._check_open()
        view = memoryview(buffer).cast("B")
        with self._lock:
            blob = self._current()
            length = max(min(len(view), blob.size_bytes - self._position), 0)
            with damage_named(self.name, self._version):
                view[:length] = blob.read_at(self._position, length)
            self._position += length
        return length

    def close(self) -> None:
        """End the lease."""
        if not self.closed:
            super().close()
            self._lease.close()

    def __reduce__(self) -> Any:
        raise TypeError("a file of a store cannot be pickled: open it again where it is needed")

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the file is closed")

    def _current(self) -> BlobReader:
        if self._process != os.getpid():
            self._lease.close()  # the parent's: here only the descriptor goes
            self._blob = self._opened()
        return self._blob

    def _opened(self) -> BlobReader:
        self._process = os.getpid()
        with damage_named(self.name, self._version):
            return self._lease.enter_context(self._engine.reading()).open_blob(self._digest)
