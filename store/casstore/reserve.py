"""The reserve: a file that only takes up room, so that a full disk has some for those who would make room.

On a disk without a free byte SQLite can neither open the index (it makes a file beside it) nor commit a change to it.
Whoever does one of the two while room is short unlinks the reserve first and makes it again afterwards. ADR 024.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

from casstore import files
from casstore.errors import StoreError
from casstore.layout import Layout

_LEAST_BYTES = 256 << 10
_BLOCK_BYTES = 1 << 20


class Reserve:
    """The reserve of one store."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    @property
    def wanted_bytes(self) -> int:
        """As much as the index has, and some more: a gc may have to write all of it to SQLite's log."""
        with contextlib.suppress(FileNotFoundError):
            return _LEAST_BYTES + self._layout.index.stat().st_size
        return _LEAST_BYTES

    def fill(self) -> None:
        """Make it, or bring it to its size. Raises FullError; as much as found room stays."""
        lacking = self.wanted_bytes - self._size_bytes()
        if lacking <= 0:
            return
        path = self._layout.reserve
        with files.translated(path):
            files.announce("create", path)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            while lacking > 0:
                # Nothing that a file system could store in less room.
                block = os.urandom(min(lacking, _BLOCK_BYTES))
                files.write_all(descriptor, block, path)
                lacking -= len(block)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def lent(self) -> Iterator[bool]:
        """Let what happens inside have its room, where room is short; gives whether it is."""
        if shutil.disk_usage(self._layout.root).free >= self.wanted_bytes:
            yield False
            return
        with contextlib.suppress(StoreError, OSError):
            files.unlink(self._layout.reserve)
        try:
            yield True
        finally:
            with contextlib.suppress(StoreError, OSError):
                self.fill()

    def _size_bytes(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self._layout.reserve.stat().st_size
        return 0
