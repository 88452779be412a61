"""The byteplane codec: words split into planes of their bytes, each stored as suits it. FORMAT.md,
"Codecs".
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

import numpy as np

from casstore import kernels
from casstore.buffers import Buffer
from casstore.codecs import zstd
from casstore.errors import DamagedError
from casstore.kernels import WORD_TYPES, Plane, Words

_HEADER: Final = struct.Struct("<BB")
_ENTRY: Final = struct.Struct("<BI")

_SAMPLE_BLOCKS: Final = 8
_SAMPLE_BLOCK_BYTES: Final = 1024
_RANDOM_BITS: Final = 7.85
"""A plane whose sample has at least this entropy per byte is stored as it is, without trying to compress
it.
"""

_WORTH_IT: Final = 0.99
"""A plane is stored raw unless coding brings it under this share of its size: less is not worth decoding
for.
"""


class _Mode(IntEnum):
    """How one plane is stored."""

    RAW = 0
    ZSTD = 1
    CONSTANT = 2


def word_width(item_width: int) -> int:
    """The width in bytes of the words that items of this width are split as; 0 where they cannot be.

    Items of 16 bytes are pairs of 8: complex numbers.
    """
    width = 8 if item_width == 16 else item_width
    return width if width in (1, *WORD_TYPES) else 0


def encode(raw: Buffer, item_width: int) -> bytes:
    """The payload for bytes of words of that width, for which `word_width` must not be 0. It may be longer
    than ``raw``.
    """
    width = word_width(item_width)
    count, tail_bytes = divmod(len(raw), width)
    view = memoryview(raw)
    low_bytes = 0
    if width == 1:
        planes = [np.frombuffer(raw, np.uint8)]
    else:
        words = _words(view[: count * width], width)
        low_bytes = _low_zero_bytes(words)
        planes = kernels.split(words, low_bytes) if low_bytes < width else []
    coded = [_encode_plane(plane) for plane in planes]
    entries = [_ENTRY.pack(mode, len(stored)) for mode, stored in coded]
    tail = view[len(raw) - tail_bytes :]
    return b"".join([_HEADER.pack(width, low_bytes), *entries, *[stored for _, stored in coded], tail])


def decode(stored: Buffer, raw_length: int) -> Buffer:
    """The ``raw_length`` bytes of a payload, in memory of their own; DamagedError for anything else."""
    view = memoryview(stored)
    try:
        width, low_bytes = _HEADER.unpack_from(view)
        if word_width(width) != width or not 0 <= low_bytes <= width or (width == 1 and low_bytes):
            raise _damaged("its header is none")
        entries = [_ENTRY.unpack_from(view, _HEADER.size + n * _ENTRY.size) for n in range(width - low_bytes)]
    except struct.error as error:
        raise _damaged("it is cut short") from error
    position = _HEADER.size + len(entries) * _ENTRY.size
    count, tail_bytes = divmod(raw_length, width)
    if position + sum(length for _, length in entries) + tail_bytes != len(view):
        raise _damaged("its planes do not add up")
    planes = []
    for mode, length in entries:
        planes.append(_decode_plane(mode, view[position : position + length], count))
        position += length
    if width == 1:
        return planes[0].data
    raw = np.empty(raw_length, np.uint8)
    kernels.join(planes, raw[: count * width].view(WORD_TYPES[width]))
    raw[count * width :] = np.frombuffer(view[position:], np.uint8)
    return raw.data


def _words(raw: memoryview, width: int) -> Words:
    words: Words = np.frombuffer(raw, WORD_TYPES[width])
    return words if words.flags.aligned else words.copy()


def _low_zero_bytes(words: Words) -> int:
    """How many bytes at the low end are zero in every word; all of them if there are no words."""
    used = int(np.bitwise_or.reduce(words[:: max(words.size // 1024, 1)], initial=0))
    if used & 0xFF == 0:  # the sample makes it worth looking at them all
        used = int(np.bitwise_or.reduce(words, initial=0))
    lowest_bit = (used & -used).bit_length() - 1
    return lowest_bit // 8 if used else words.itemsize


def _encode_plane(plane: Plane) -> tuple[_Mode, Buffer]:
    bits = _sample_bits(plane)
    if bits == 0 and plane.size and (plane == plane[0]).all():
        return _Mode.CONSTANT, plane[:1].data
    if bits < _RANDOM_BITS:
        stored = zstd.compress_plane(plane.data)
        if len(stored) < plane.size * _WORTH_IT:
            return _Mode.ZSTD, stored
    return _Mode.RAW, plane.data


def _decode_plane(mode: int, stored: memoryview, count: int) -> Plane:
    if mode == _Mode.ZSTD:
        return np.frombuffer(zstd.decode(stored, count), np.uint8)
    if mode == _Mode.CONSTANT and len(stored) == 1:
        return np.full(count, stored[0], np.uint8)
    if mode == _Mode.RAW and len(stored) == count:
        return np.frombuffer(stored, np.uint8)
    raise _damaged("a plane is none")


def _sample_bits(plane: Plane) -> float:
    """The entropy in bits of one byte, from blocks spread over the plane."""
    if plane.size > 2 * _SAMPLE_BLOCKS * _SAMPLE_BLOCK_BYTES:
        stride = (plane.size - _SAMPLE_BLOCK_BYTES) // (_SAMPLE_BLOCKS - 1)
        starts = range(0, stride * _SAMPLE_BLOCKS, stride)
        plane = np.concatenate([plane[start : start + _SAMPLE_BLOCK_BYTES] for start in starts])
    counts = np.bincount(plane, minlength=256)
    shares = counts[counts > 0] / max(plane.size, 1)
    return float(-(shares * np.log2(shares)).sum())


def _damaged(reason: str) -> DamagedError:
    return DamagedError("a byteplane payload", reason)
