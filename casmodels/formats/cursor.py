"""Reading a file's header forwards: each byte at most once, and no more steps than any real file needs."""

from __future__ import annotations

import struct
from typing import Final

from casmodels.formats.layout import DoubtError
from casstore.chunkers.spans import RandomAccess

MAX_STEPS: Final = 2_000_000
"""Numbers that are read from one file. A vocabulary of a million words takes one million; the cap some 2 s."""

_WINDOW_BYTES: Final = 64 << 10
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_MAX_VARINT_BYTES: Final = 10


class Cursor:
    """A place in a file that only moves forwards; a step beyond the end raises DoubtError."""

    def __init__(self, source: RandomAccess, position: int = 0) -> None:
        self._source = source
        self._window = b""
        self._start = 0
        self._steps = 0
        self.position = position
        self.size_bytes = source.size_bytes

    def skip(self, count: int) -> None:
        """Pass over so many bytes without reading them."""
        if not 0 <= count <= self.size_bytes - self.position:
            raise DoubtError("a length that leads out of the file")
        self.position += count

    def take(self, count: int) -> bytes:
        """The next bytes; the caller bounds how many."""
        at = self._reach(count)
        self.position += count
        return self._window[at : at + count]

    def u32(self) -> int:
        """The next little-endian number of 4 bytes."""
        at = self._reach(4)
        self.position += 4
        number: int = _U32.unpack_from(self._window, at)[0]
        return number

    def u64(self) -> int:
        """The next little-endian number of 8 bytes."""
        at = self._reach(8)
        self.position += 8
        number: int = _U64.unpack_from(self._window, at)[0]
        return number

    def varint(self) -> int:
        """The next number as protocol buffers write it: 7 bits per byte, the last byte below 128; 64 bits in all."""
        at = self._reach(1)
        number = shift = 0
        for count in range(_MAX_VARINT_BYTES):
            if at + count >= len(self._window):
                at = self._reach(count + 1)
            byte = self._window[at + count]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                self.position += count + 1
                return number & 0xFFFF_FFFF_FFFF_FFFF
            shift += 7
        raise DoubtError("a number of more than 64 bits")

    def _reach(self, count: int) -> int:
        """Where the next bytes begin in the window, which holds so many of them afterwards."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise DoubtError("a header of too many parts")
        at = self.position - self._start
        if at + count > len(self._window):
            self._window = self._source.read_at(self.position, max(count, _WINDOW_BYTES))
            self._start, at = self.position, 0
            if len(self._window) < count:
                raise DoubtError("the header is cut short")
        return at
