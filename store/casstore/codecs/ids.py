"""The ids of the codecs, as they stand in a frame's header."""

from __future__ import annotations

from enum import IntEnum


class Codec(IntEnum):
    """How a chunk's bytes are stored. Ids are never given anew; 3 and 4 are kept for delta and cast."""

    RAW = 0
    ZSTD = 1
    BYTEPLANE = 2
