"""Content-defined cutting of bytes of which nothing is known: FastCDC, in bounded memory.

ADR 002 tells how the library and the sizes were chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from casstore.chunkers.reads import read_exactly
from casstore.chunkers.spans import Piece, RandomAccess

# They decide where chunks begin: changing one makes every later file miss the chunks stored before.
MIN_BYTES: Final = 256 << 10
AVERAGE_BYTES: Final = 1 << 20
MAX_BYTES: Final = 4 << 20
NORMALISATION: Final = 1
SEED: Final = 0

_WINDOW_BYTES: Final = 16 << 20


def cut_opaque(
    source: RandomAccess, offset: int, length: int, *, window_bytes: int = _WINDOW_BYTES
) -> Iterator[tuple[Piece, bytes]]:
    """Pieces that cover that range of the source, with their bytes; ShortReadError if the source is shorter.

    The cut points depend on the bytes alone: a cut is only taken where the window still shows the longest
    piece possible, or the end. What is left of a window is read again with the next one.
    """
    from pyfastcdc import FastCDC

    chunker = FastCDC(
        AVERAGE_BYTES, min_size=MIN_BYTES, max_size=MAX_BYTES, normalized_chunking=NORMALISATION, seed=SEED
    )
    stop = offset + length
    while offset < stop:
        window = read_exactly(source, offset, min(max(window_bytes, MAX_BYTES), stop - offset))
        start = offset
        last = start + len(window) == stop
        for chunk in chunker.cut_buf(window):
            yield Piece(offset, chunk.length), bytes(chunk.data)
            offset += chunk.length
            if not last and start + len(window) - offset < MAX_BYTES:
                break
