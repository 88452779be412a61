"""Reading a source while it is being cut."""

from __future__ import annotations

from casstore.chunkers.spans import RandomAccess


class ShortReadError(EOFError):
    """A source gave fewer bytes than its size promises, so it changed after it was opened.

    ``offset`` and ``wanted`` are what was asked for, ``got`` is what came; all in bytes.
    """

    def __init__(self, offset: int, wanted: int, got: int) -> None:
        super().__init__(f"{wanted} bytes wanted at {offset}, only {got} are there")
        self.offset = offset
        self.wanted = wanted
        self.got = got


def read_exactly(source: RandomAccess, offset: int, length: int) -> bytes:
    """Bytes ``offset`` to ``offset + length`` of the source; ShortReadError when they are not all there."""
    data = source.read_at(offset, length)
    if len(data) != length:
        raise ShortReadError(offset, length, len(data))
    return data
