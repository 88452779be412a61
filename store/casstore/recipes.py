"""Recipes: how a blob is put together from chunks. FORMAT.md, "Recipes", gives the bytes."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from casstore.digests import GIT_BLOB, SHA256, Digest, blake3_digest
from casstore.errors import DamagedError

_HEADER = struct.Struct("<4sBBHQ32s20sI")
_ENTRY = struct.Struct("<32sII")
_MAGIC = b"CRCP"
_VERSION = 1
_HAS_GIT = 1
_BATCH = 4096

MAX_CHUNK_BYTES = 8 << 20
"""No chunk is cut larger, and so many are decoded at once that a larger one would cost more memory than there is."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes ``offset`` to ``offset + length`` of one chunk; ``chunk`` is the 32 raw bytes of its BLAKE3."""

    chunk: bytes
    offset: int
    length: int


@dataclass(frozen=True)
class Recipe:
    """One blob: its digests, its size in bytes, and the parts that make it, in order."""

    sha256: Digest
    size_bytes: int
    parts: tuple[Part, ...]
    git: Digest | None = None

    @cached_property
    def encoded(self) -> bytes:
        """The canonical bytes."""
        flags = _HAS_GIT if self.git is not None else 0
        git = self.git.value if self.git is not None else bytes(20)
        header = _HEADER.pack(_MAGIC, _VERSION, flags, 0, self.size_bytes, self.sha256.value, git, len(self.parts))
        return header + b"".join(_ENTRY.pack(part.chunk, part.offset, part.length) for part in self.parts)

    @cached_property
    def digest(self) -> Digest:
        """The BLAKE3 of the canonical bytes: the recipe's name."""
        return blake3_digest(self.encoded)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where each part begins within the blob, and at the end the blob's size."""
        return tuple(accumulate((part.length for part in self.parts), initial=0))

    def parts_between(self, start: int, stop: int) -> list[tuple[int, Part]]:
        """The parts that touch bytes ``start`` to ``stop`` of the blob, each with where it begins."""
        if start < 0:
            raise ValueError("a blob has no bytes before its start")
        if start >= stop:
            return []
        found = []
        for position in range(bisect_right(self.starts, start) - 1, len(self.parts)):
            if self.starts[position] >= stop:
                break
            if self.parts[position].length:
                found.append((self.starts[position], self.parts[position]))
        return found

    @classmethod
    def decode(cls, data: bytes, digest: Digest) -> Recipe:
        """Read the canonical bytes of the recipe of that name.

        Raises DamagedError when they are not what the digest says, or do not add up to the blob's size.
        """
        outline = Outline.decode(data, digest)
        parts = tuple(Part(*fields) for fields in _entries(data))
        return cls(outline.sha256, outline.size_bytes, parts, outline.git)


@dataclass(frozen=True, slots=True)
class Outline:
    """A recipe that stays as it is encoded: a large file has a million parts, and who only needs their chunks' names
    need not have an object of each."""

    sha256: Digest
    size_bytes: int
    git: Digest | None
    data: bytes

    @classmethod
    def decode(cls, data: bytes, digest: Digest) -> Outline:
        """The same as `Recipe.decode`."""
        what = f"recipe {digest.hex}"
        if blake3_digest(data) != digest:
            raise DamagedError(what, "its bytes do not match its digest")
        try:
            magic, version, flags, _, size_bytes, sha256, git, count = _HEADER.unpack_from(data)
        except struct.error as error:
            raise DamagedError(what, "it is too short") from error
        if magic != _MAGIC or version != _VERSION or len(data) != _HEADER.size + count * _ENTRY.size:
            raise DamagedError(what, "it is not a recipe of a known format")
        if sum(length for _, _, length in _entries(data)) != size_bytes:
            raise DamagedError(what, "its parts do not add up to the blob's size")
        return cls(Digest(SHA256, sha256), size_bytes, Digest(GIT_BLOB, git) if flags & _HAS_GIT else None, data)

    def chunks(self) -> Iterator[list[bytes]]:
        """The digests of the chunks in order, a few thousand at a time, and among those each only once."""
        step = _BATCH * _ENTRY.size
        for begin in range(_HEADER.size, len(self.data), step):
            end = min(begin + step, len(self.data))
            yield list(dict.fromkeys(self.data[start : start + 32] for start in range(begin, end, _ENTRY.size)))

    def parts(self) -> Iterator[Part]:
        """The parts in order, made as they are asked for."""
        return (Part(*fields) for fields in _entries(self.data))


def _entries(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    return _ENTRY.iter_unpack(memoryview(data)[_HEADER.size :])
