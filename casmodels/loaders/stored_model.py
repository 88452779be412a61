"""A version of the store as loaders see it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BufferedReader, BytesIO
from typing import Any, BinaryIO, Final, TypeAlias

from casmodels.errors import NotLoadableError
from casmodels.library import Store
from casmodels.loaders.room import free_bytes
from casmodels.sources.gzipped import UnpackLimits, is_gzip_name, unpacked_blocks, unpacked_name
from casstore.errors import InvalidInputError, NotFoundError

_MAX_SMALL_BYTES: Final = 64 << 20
_MAX_RATIO: Final = 100.0
_TRAILER_BYTES: Final = 4
"""Of a gzip file's end, where the size of what was packed stands (RFC 1952)."""

Block: TypeAlias = bytes | memoryview


class StoredModel:
    """The files of one version, or of a directory or a file in it (``path``), straight from the store.

    Paths count from that directory. ``candidates`` are those that may be loaded: all, or the one file that was named.
    Files whose names end in ``.gz`` are unpacked by `blocks` and `read`. ``str()`` gives what messages call it.
    """

    def __init__(self, store: Store, target: str, path: str | None = None) -> None:
        self.store = store
        self.contents = store.contents(target)
        sizes = {entry.path: entry.size_bytes for entry in self.contents.files}
        inside = (path or "").strip("/")
        self.file = None if inside not in sizes else inside.rpartition("/")[2]
        folder = inside if self.file is None else inside.rpartition("/")[0]
        self._root = folder + "/" if folder else ""
        self.sizes = {
            name.removeprefix(self._root): size for name, size in sizes.items() if name.startswith(self._root)
        }
        if not self.sizes:
            where = f"nothing at {path!r}" if path else "no files"
            raise NotFoundError(f"{self} has {where}", remedy=f"see `casmodels ls {self}`")

    def __str__(self) -> str:
        return f"{self.contents.name}@{self.contents.version[:12]}"

    @property
    def candidates(self) -> list[str]:
        """What may be loaded, in the order of the paths."""
        return [self.file] if self.file is not None else sorted(self.sizes)

    def ending(self, *suffixes: str) -> list[str]:
        """The candidates that end so, in any case; ``.gz`` after it does not count."""
        return [path for path in self.candidates if unpacked_name(path).lower().endswith(suffixes)]

    def only(self, paths: list[str], stem: str = "model") -> list[str]:
        """One of these: where there are several, the first whose name is ``stem`` and a suffix.

        Raises NotLoadableError where nothing says which.
        """
        if len(paths) < 2:
            return paths
        for path in sorted(paths, key=lambda path: path.count("/")):
            if path.rpartition("/")[2].partition(".")[0] == stem:
                return [path]
        some = ", ".join(paths[:5]) + (", …" if len(paths) > 5 else "")
        raise NotLoadableError(f"{self} has {len(paths)} models: {some}", remedy="say which with path=")

    def full(self, path: str) -> str:
        """The path in the version."""
        return self._root + path

    def called(self, path: str) -> str:
        """What messages call a file."""
        return f"{self.full(path)} in {self}"

    def unpacked_bytes(self, path: str) -> int:
        """How much memory a file's bytes take: those of a gzip file as its trailer tells, at least the packed ones.

        It counts modulo 4 GiB, and the last of several members only; `blocks` refuses what is more than fits.
        """
        packed = self.sizes[path]
        if not is_gzip_name(path) or packed < _TRAILER_BYTES:
            return packed
        with self.open(path) as file:
            file.seek(packed - _TRAILER_BYTES)
            return max(packed, int.from_bytes(file.read(_TRAILER_BYTES), "little"))

    def open(self, path: str) -> BufferedReader:
        """A seekable file of the stored bytes, not unpacked."""
        return self.store.open(self.contents.target, self.full(path))

    def unpacked(self, path: str) -> BinaryIO:
        """A seekable file of the bytes; those of a gzip file lie in memory. Raises InvalidInputError as `blocks`."""
        return BytesIO(self.read(path)) if is_gzip_name(path) else self.open(path)

    def blocks(self, path: str) -> Iterator[Block]:
        """The bytes in order, decoded ahead and checked.

        Raises InvalidInputError for a gzip file that unpacks to more than fits in memory, or 100 times its size.
        """
        if not is_gzip_name(path):
            yield from self.store.cat(self.contents.target, self.full(path))
            return
        bounds = UnpackLimits(free_bytes("cpu") or 0, _MAX_RATIO)
        with self.open(path) as packed:
            yield from unpacked_blocks(packed, self.called(path), bounds)

    def read(self, path: str) -> bytes:
        """All the bytes, which lie in memory once."""
        data = BytesIO()
        for block in self.blocks(path):
            data.write(block)
        return data.getvalue()

    def head(self, path: str, size_bytes: int) -> bytes:
        """The first bytes, at most so many."""
        data = bytearray()
        for block in self.blocks(path):
            data += block[: size_bytes - len(data)]
            if len(data) == size_bytes:
                break
        return bytes(data)

    def read_json(self, path: str) -> dict[str, Any]:
        """A small file of JSON. Raises NotLoadableError when it is none, or no object."""
        found = self.read_json_value(path)
        if not isinstance(found, dict):
            raise NotLoadableError(f"{self.called(path)} is no JSON object")
        return found

    def read_json_value(self, path: str) -> Any:
        """A small file of JSON, whatever is in it. Raises NotLoadableError, InvalidInputError as `read_json`."""
        if self.sizes[path] > _MAX_SMALL_BYTES:
            raise InvalidInputError(f"{self.called(path)} is too large for a file of settings")
        try:
            return json.loads(self.read(path))
        except (ValueError, RecursionError) as error:
            raise NotLoadableError(f"{self.called(path)} is no JSON: {error}") from error

    def tensors(self, path: str, **options: Any) -> dict[str, Any]:
        """The tensors of a file or of an index of shards. See `casmodels.library.store.Store.load_tensors`."""
        return self.store.load_tensors(self.contents.target, path=self.full(path), **options)
