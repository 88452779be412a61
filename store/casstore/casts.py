"""Casts between float types, defined to the bit so that a chunk can be stored as the cast of another.

FORMAT.md, "Casts", gives the definition. NumPy's own conversions are used where they do the same: rounding to nearest,
ties to even, is all of IEEE 754's but NaNs, which every library treats in its own way.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

from casstore.buffers import Buffer
from casstore.kernels import WORD_TYPES, Words

_QUIET_BFLOAT16: Final = np.uint16(0x7FC0)
_QUIET_FLOAT16: Final = np.uint16(0x7E00)


class Cast(IntEnum):
    """From which type to which: four bits each, as they stand in a frame's header; 1 is float32, 2 bfloat16, 3
    float16."""

    NONE = 0
    FLOAT32_TO_BFLOAT16 = 0x12
    FLOAT32_TO_FLOAT16 = 0x13
    BFLOAT16_TO_FLOAT32 = 0x21
    BFLOAT16_TO_FLOAT16 = 0x23
    FLOAT16_TO_FLOAT32 = 0x31
    FLOAT16_TO_BFLOAT16 = 0x32


_WIDTHS: Final = {1: 4, 2: 2, 3: 2}


def source_width(cast: Cast) -> int:
    """Bytes per element before the cast; 0 for none."""
    return _WIDTHS.get(cast >> 4, 0)


def target_width(cast: Cast) -> int:
    """Bytes per element after the cast; 0 for none."""
    return _WIDTHS.get(cast & 15, 0)


def casts_between(source: int, target: int) -> list[Cast]:
    """The casts from words of ``source`` bytes to words of ``target`` bytes; none is among them if they are equal."""
    same = [Cast.NONE] if source == target else []
    return same + [cast for cast in Cast if (source_width(cast), target_width(cast)) == (source, target)]


def apply_cast(cast: Cast, raw: Buffer) -> Words:
    """The words that the cast makes of these bytes, which are whole words of its source type."""
    words = np.frombuffer(raw, WORD_TYPES[source_width(cast)])
    match cast:
        case Cast.FLOAT32_TO_BFLOAT16:
            return _float32_to_bfloat16(words)
        case Cast.FLOAT32_TO_FLOAT16:
            return _float32_to_float16(words)
        case Cast.BFLOAT16_TO_FLOAT32:
            return _bfloat16_to_float32(words)
        case Cast.BFLOAT16_TO_FLOAT16:
            return _float32_to_float16(_bfloat16_to_float32(words))
        case Cast.FLOAT16_TO_FLOAT32:
            return _float16_to_float32(words)
        case Cast.FLOAT16_TO_BFLOAT16:
            return _float32_to_bfloat16(_float16_to_float32(words))
        case Cast.NONE:
            raise ValueError("no cast has no source type")


def _float32_to_bfloat16(words: Words) -> Words:
    rounded = words >> np.uint32(16)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += words
    rounded >>= np.uint32(16)
    narrow = rounded.astype("<u2")
    if (is_nan := np.isnan(words.view("<f4"))).any():
        narrow[is_nan] = _QUIET_BFLOAT16
    return narrow


def _float32_to_float16(words: Words) -> Words:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        narrow: Words = words.view("<f4").astype("<f2").view("<u2")
    if (is_nan := np.isnan(words.view("<f4"))).any():
        narrow[is_nan] = (words[is_nan] >> np.uint32(16)).astype("<u2") & np.uint16(0x8000) | _QUIET_FLOAT16
    return narrow


def _bfloat16_to_float32(words: Words) -> Words:
    return words.astype("<u4") << np.uint32(16)


def _float16_to_float32(words: Words) -> Words:
    with np.errstate(invalid="ignore"):
        wide: Words = words.view("<f2").astype("<f4").view("<u4")
    if (is_nan := np.isnan(words.view("<f2"))).any():
        bits = words[is_nan].astype("<u4")
        wide[is_nan] = (bits & 0x8000) << 16 | 0x7F800000 | (bits & 0x3FF) << 13
    return wide
