"""HDF5's blocks of metadata, read where they are pointed to: within a budget, and never past the end of the file.

This and the modules `hdf5_links` and `hdf5` are written against the HDF5 File Format Specification, version 3.0,
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from casmodels.formats.layout import DoubtError
from casstore.chunkers.spans import RandomAccess

MAX_METADATA_BYTES: Final = 32 << 20
MAX_STEPS: Final = 400_000
"""Blocks, messages and links that are read from one file. A dataset takes some 15; the cap some 1 s."""

UNDEFINED: Final = 0xFFFF_FFFF_FFFF_FFFF
"""The address of what is not there."""

_CONTINUATION: Final = 0x10
_SHARED: Final = 0x02
_V1_PREFIX: Final = struct.Struct("<BxHIII")
_V1_MESSAGE: Final = struct.Struct("<HHB3x")
_V2_MESSAGE: Final = struct.Struct("<BHB")
_PLACE: Final = struct.Struct("<QQ")


class Message(NamedTuple):
    """One fact about a group or dataset: its number in the specification, and its bytes."""

    kind: int
    data: bytes


class Metadata:
    """A file's metadata; more of it than the budget raises DoubtError, as does a place that is not in the file."""

    def __init__(self, source: RandomAccess) -> None:
        self._source = source
        self._left_bytes = MAX_METADATA_BYTES
        self._left_steps = MAX_STEPS

    def step(self, count: int = 1) -> None:
        """Account for work."""
        self._left_steps -= count
        if self._left_steps < 0:
            raise DoubtError("metadata of too many parts")

    def read(self, address: int, length: int) -> bytes:
        """Exactly so many bytes."""
        self.step()
        self._left_bytes -= length
        if self._left_bytes < 0:
            raise DoubtError("too much metadata")
        if address > self._source.size_bytes:
            raise DoubtError("an address outside the file")
        data = self._source.read_at(address, length)
        if len(data) != length:
            raise DoubtError("metadata that is cut short")
        return data

    def number(self, address: int) -> int:
        """The number of 8 bytes at an address."""
        return int.from_bytes(self.read(address, 8), "little")

    def messages(self, address: int) -> Iterator[Message]:
        """What the object header at an address says, continuations included; shared messages are left out."""
        head = self.read(address, 16)
        if head.startswith(b"OHDR"):
            return self._messages_2(address, head)
        version, count, _, length, _ = _V1_PREFIX.unpack(head)
        if version != 1:
            raise DoubtError("an object header of a version that is not known")
        return self._messages_1(address + _V1_PREFIX.size, length, count)

    def _messages_1(self, address: int, length: int, count: int) -> Iterator[Message]:
        blocks = [(address, length)]
        while blocks and count:
            data = self.read(*blocks.pop(0))
            position = 0
            while count and position + _V1_MESSAGE.size <= len(data):
                count -= 1
                kind, size, flags = _V1_MESSAGE.unpack_from(data, position)
                position += _V1_MESSAGE.size
                yield from self._message(kind, flags, data[position : position + size], blocks)
                position += size

    def _messages_2(self, address: int, head: bytes) -> Iterator[Message]:
        version, flags = head[4], head[5]
        if version != 2:
            raise DoubtError("an object header of a version that is not known")
        start = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        length_bytes = 1 << (flags & 3)
        length = int.from_bytes(self.read(address + start, length_bytes), "little")
        order_bytes = 2 if flags & 0x04 else 0
        prefix_bytes = _V2_MESSAGE.size + order_bytes
        blocks: list[tuple[int, int]] = []
        data = self.read(address + start + length_bytes, length)
        while True:
            position = 0
            while position + prefix_bytes <= len(data):
                kind, size, message_flags = _V2_MESSAGE.unpack_from(data, position)
                position += prefix_bytes
                yield from self._message(kind, message_flags, data[position : position + size], blocks)
                position += size
            if not blocks:
                return
            block = self.read(*blocks.pop(0))
            if not block.startswith(b"OCHK"):
                raise DoubtError("a continuation that is none")
            data = block[4:-4]

    def _message(self, kind: int, flags: int, data: bytes, blocks: list[tuple[int, int]]) -> Iterator[Message]:
        self.step()
        if kind == _CONTINUATION:
            blocks.append(_PLACE.unpack_from(data))
        elif not flags & _SHARED:
            yield Message(kind, data)
