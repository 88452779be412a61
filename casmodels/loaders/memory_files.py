"""Files in memory, for libraries that take nothing but a path.

On Linux a file is a ``memfd``, which has no name; libraries look at names, so a temporary directory holds a link to
it. The kernel frees it when its descriptor is closed, which the end of the process does, too: what a kill leaves behind
is a directory of links to nothing. HDF5 asks for a file's real path, which a ``memfd`` has not: for it, files lie in
``/dev/shm``, and a kill while they are open leaves them there. Where there is neither (macOS), they lie in a temporary
directory on the disk. `MemoryFiles.close` removes everything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final

from casmodels.loaders.stored_model import Block, StoredModel
from casmodels.sources.gzipped import unpacked_name

_DESCRIPTORS: Final = "/proc/self/fd"
_SHARED: Final = Path("/dev/shm")


class MemoryFiles:
    """A directory of files in memory. Close it, or use it with ``with``; what is mapped by then stays readable.

    With ``real_paths`` they are files to whoever looks at where links lead.
    """

    def __init__(self, *, real_paths: bool = False) -> None:
        self._stack = ExitStack()
        self._linked = not real_paths and hasattr(os, "memfd_create") and Path(_DESCRIPTORS).is_dir()
        place = str(_SHARED) if real_paths and os.access(_SHARED, os.W_OK) else None
        self.path = Path(self._stack.enter_context(TemporaryDirectory(prefix="casmodels-", dir=place)))

    def add(self, name: str, blocks: Iterable[Block]) -> Path:
        """A file of these bytes; the name may have directories before it. Gives the path."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = self._made(path)
        with open(descriptor, "wb", buffering=0, closefd=False) as file:
            for block in blocks:
                view = memoryview(block)
                while view:
                    view = view[file.write(view) :]
        return path

    def add_all(self, model: StoredModel, paths: Iterable[str]) -> None:
        """Files of a version under their own names; one that is gzipped is unpacked, unless it is among them plain."""
        wanted = list(paths)
        for path in wanted:
            name = unpacked_name(path)
            if name == path or name not in wanted:
                self.add(name, model.blocks(path))

    def close(self) -> None:
        """Free them."""
        self._stack.close()

    def __enter__(self) -> MemoryFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _made(self, path: Path) -> int:
        if self._linked:
            descriptor = os.memfd_create("casmodels")
            path.symlink_to(f"{_DESCRIPTORS}/{descriptor}")
        else:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._stack.callback(os.close, descriptor)
        return descriptor
