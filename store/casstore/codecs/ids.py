"""The ids of the codecs, as they stand in a frame's header."""

from __future__ import annotations

from enum import IntEnum


class Codec(IntEnum):
    """How a chunk's bytes are stored. Ids are never given anew. DELTA and CAST need a base."""

    RAW = 0
    ZSTD = 1
    BYTEPLANE = 2
    DELTA = 3
    CAST = 4
