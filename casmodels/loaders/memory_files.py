"""Files in memory, for libraries that take nothing but a path.

On Linux a file is a ``memfd``, which has no name; libraries look at names, so a temporary directory holds a link to
it. The kernel frees it when its descriptor is closed, which the end of the process does, too. HDF5 asks for a file's
real path, which a ``memfd`` has not: for it, files lie in ``/dev/shm``; so do small files where there are so many that
their descriptors could run out. Where there is neither (macOS), they lie in a temporary directory on the disk.
`MemoryFiles.close` removes everything; what a kill leaves, a directory of links to nothing or one in ``/dev/shm``, the
next `MemoryFiles` removes, and ``casmodels cleanup``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from io import FileIO
from itertools import chain
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final

from casmodels.loaders.stored_model import Block, StoredModel
from casmodels.runtime.memory_directories import SHARED, memory_directory, remove_dead
from casmodels.sources.gzipped import unpacked_name

_DESCRIPTORS: Final = "/proc/self/fd"
_MAX_DESCRIPTORS: Final = 256
"""From here on small files hold none; a process may often have 1024."""
_SMALL_BYTES: Final = 1 << 20
_ALL_SMALL_BYTES: Final = 32 << 20
"""What these may take of ``/dev/shm``, of which containers often have 64 MiB."""


class MemoryFiles:
    """A directory of files in memory. Close it, or use it with ``with``; what is mapped by then stays readable.

    With ``real_paths`` they are files to whoever looks at where links lead.
    """

    def __init__(self, *, real_paths: bool = False) -> None:
        remove_dead()
        self._stack = ExitStack()
        self._linked = not real_paths and hasattr(os, "memfd_create") and Path(_DESCRIPTORS).is_dir()
        self._shared = os.access(SHARED, os.W_OK)
        self.path = self._stack.enter_context(memory_directory(SHARED if real_paths and self._shared else None))
        self._small: Path | None = None
        self._small_left_bytes = _ALL_SMALL_BYTES
        self._descriptors = 0

    def add(self, name: str, blocks: Iterable[Block]) -> Path:
        """A file of these bytes; the name may have directories before it. Gives the path."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self._linked:
            with open(path, "xb", buffering=0) as file:
                _write(file, blocks)
        elif self._descriptors < _MAX_DESCRIPTORS or not self._shared:
            self._add_linked(path, blocks)
        else:
            rest = iter(blocks)
            begun, whole = _begun(rest)
            if whole and len(begun) <= self._small_left_bytes:
                self._add_small(path, begun)
            else:
                self._add_linked(path, chain([begun], rest))
        return path

    def add_all(self, model: StoredModel, paths: Iterable[str]) -> None:
        """Files of a version under their own names. One that is gzipped is unpacked, unless it is among them plain; if
        its name without ``.gz`` is taken otherwise (by a directory, or by another that is unpacked), it stays packed.
        """
        wanted = list(paths)
        taken = {str(parent) for path in wanted for parent in PurePosixPath(path).parents}
        for path in wanted:
            name = unpacked_name(path)
            if name != path and name in taken:
                self.add(path, model.store.cat(model.contents.target, model.full(path)))
            elif name == path or name not in wanted:
                self.add(name, model.blocks(path))
                taken.update({name} - {path})

    def close(self) -> None:
        """Free them."""
        self._stack.close()

    def __enter__(self) -> MemoryFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add_linked(self, path: Path, blocks: Iterable[Block]) -> None:
        descriptor = os.memfd_create("casmodels")
        self._stack.callback(os.close, descriptor)
        self._descriptors += 1
        path.symlink_to(f"{_DESCRIPTORS}/{descriptor}")
        with open(descriptor, "wb", buffering=0, closefd=False) as file:
            _write(file, blocks)

    def _add_small(self, path: Path, data: bytes) -> None:
        if self._small is None:
            self._small = self._stack.enter_context(memory_directory(SHARED))
        self._small_left_bytes -= len(data)
        target = self._small / path.relative_to(self.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        path.symlink_to(target)


def _begun(blocks: Iterator[Block]) -> tuple[bytes, bool]:
    """The first bytes, and whether they are all: then they are few."""
    data = bytearray()
    for block in blocks:
        data += block
        if len(data) > _SMALL_BYTES:
            return bytes(data), False
    return bytes(data), True


def _write(file: FileIO, blocks: Iterable[Block]) -> None:
    for block in blocks:
        view = memoryview(block)
        while view:
            view = view[file.write(view) :]
