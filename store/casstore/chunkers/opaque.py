"""Content-defined cutting of bytes of which nothing is known: FastCDC, in bounded memory.

ADR 002 tells how the library and the sizes were chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from casstore.buffers import Buffer
from casstore.chunkers.reads import read_exactly
from casstore.chunkers.spans import Piece, RandomAccess

# These decide where chunks begin: changing one makes every later file miss the chunks stored before.
MIN_BYTES: Final = 128 << 10
AVERAGE_BYTES: Final = 512 << 10  # what the library aims at; with the minimum, chunks average some 600 KiB
MAX_BYTES: Final = 2 << 20
NORMALISATION: Final = 1
SEED: Final = 0

_WINDOW_BYTES: Final = 8 << 20


def cut_opaque(
    source: RandomAccess, offset: int, length: int, *, window_bytes: int = _WINDOW_BYTES
) -> Iterator[tuple[Piece, Buffer]]:
    """Pieces that cover that range of the source, with their bytes; ShortReadError if the source is shorter.

    The cut points depend on the bytes alone, not on the window (which must be longer than the longest piece):
    the last piece of a window may end only because the window does, so it is read and cut again with what
    follows. The bytes are views of the window they were cut from, which lives as long as any of them does.
    """
    if length <= MIN_BYTES:  # never cut, so small files need no library
        if length:
            yield Piece(offset, length), read_exactly(source, offset, length)
        return
    from pyfastcdc import FastCDC

    chunker = FastCDC(
        AVERAGE_BYTES, min_size=MIN_BYTES, max_size=MAX_BYTES, normalized_chunking=NORMALISATION, seed=SEED
    )
    stop = offset + length
    while offset < stop:
        window = read_exactly(source, offset, min(window_bytes, stop - offset))
        window_stop = offset + len(window)
        for chunk in chunker.cut_buf(window):
            if window_stop < stop and offset + chunk.length == window_stop:
                break
            yield Piece(offset, chunk.length), chunk.data
            offset += chunk.length
