"""The byteplane codec: words split into planes of their bytes, each stored as suits it.

FORMAT.md, "Codecs", gives the bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from casstore import kernels
from casstore.buffers import Buffer
from casstore.codecs import zstd
from casstore.codecs.sampling import entropy_bits, spread_blocks
from casstore.errors import DamagedError
from casstore.kernels import WORD_TYPES, Plane, Words

_HEADER: Final = struct.Struct("<BBB")
_ENTRY: Final = struct.Struct("<BBI")

_SAMPLE_BLOCKS: Final = 4
_SAMPLE_BLOCK_WORDS: Final = 1024

_RANDOM_BITS: Final = 7.87
"""A plane whose sample has at least this entropy per byte is stored as it is, without trying to code it."""

_REPETITIVE: Final = 0.9
"""If matches bring the sample of a plane under this share of its entropy, its words repeat themselves."""

_WORTH_IT: Final = 0.99
"""A plane is stored raw unless coding brings it under this share: less is not worth decoding for."""


class _Mode(IntEnum):
    """How one plane is stored."""

    RAW = 0
    ZSTD = 1
    CONSTANT = 2


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What a sample says: which planes, lowest first, are not worth coding, whether words repeat, and the share of the
    bytes that would be left."""

    random: tuple[bool, ...]
    repetitive: bool
    share: float


def encode(raw: Buffer, width: int, lead_bytes: int = 0) -> Buffer | None:
    """The payload for words of ``width`` bytes (1, 2, 4 or 8), the first of them at ``lead_bytes``.

    None where samples say that no plane of them would gain. The payload may be longer than ``raw``.
    """
    view = memoryview(raw)
    lead_bytes = min(lead_bytes, len(raw))
    count = (len(raw) - lead_bytes) // width
    stop = lead_bytes + count * width
    words: Words = np.frombuffer(view[lead_bytes:stop], WORD_TYPES[width])
    low_bytes = _low_zero_bytes(words)
    outlook = _look(words, width - low_bytes)
    if not low_bytes and all(outlook.random):
        return None
    ends = (view[:lead_bytes], view[stop:])
    position = _HEADER.size + len(outlook.random) * _ENTRY.size + len(raw) - count * width
    payload = np.empty(position + len(outlook.random) * count, np.uint8)
    scratch = iter(np.empty((outlook.random.count(False), count), np.uint8))
    planes, entries = [], []
    for number, is_random in enumerate(outlook.random, low_bytes):
        if is_random:  # it is split straight into its place
            planes.append(payload[position : position + count])
            entries.append(_ENTRY.pack(number, _Mode.RAW, count))
            position += count
        else:
            planes.append(next(scratch))
    kernels.split(words, planes)
    for number, is_random in enumerate(outlook.random):
        if not is_random:
            mode, stored = _encode_plane(planes[number], outlook.repetitive)
            payload[position : position + len(stored)] = np.frombuffer(stored, np.uint8)
            entries.append(_ENTRY.pack(number + low_bytes, mode, len(stored)))
            position += len(stored)
    front = b"".join([_HEADER.pack(width, lead_bytes, low_bytes), *entries, *ends])
    payload[: len(front)] = np.frombuffer(front, np.uint8)
    return payload[:position].data


def expected_share(raw: Buffer, width: int) -> float:
    """About the share that `encode` would leave of words of ``width`` bytes, from 0 to 1, going by samples."""
    words: Words = np.frombuffer(raw, WORD_TYPES[width], count=len(raw) // width)
    return _look(words, width - _low_zero_bytes(words)).share


def decode(stored: Buffer, raw_length: int, out: memoryview | None = None) -> Buffer:
    """The ``raw_length`` bytes of a payload, in memory of their own or in ``out``; DamagedError for anything else."""
    view = memoryview(stored)
    try:
        width, lead_bytes, low_bytes = _HEADER.unpack_from(view)
        if lead_bytes > min(width - 1, raw_length) or low_bytes > width:
            raise _damaged("its header is none")
        word_type = WORD_TYPES[width]
        fronts = _HEADER.size + (width - low_bytes) * _ENTRY.size
        entries = list(_ENTRY.iter_unpack(view[_HEADER.size : fronts]))
    except (struct.error, KeyError) as error:
        raise _damaged("its header is none") from error
    if sorted(number for number, _, _ in entries) != list(range(low_bytes, width)):
        raise _damaged("its planes are not those of its words")
    count = (raw_length - lead_bytes) // width
    stop = lead_bytes + count * width
    planes_at = fronts + raw_length - count * width
    if planes_at + sum(length for _, _, length in entries) != len(view):
        raise _damaged("its planes do not add up")
    raw = np.empty(raw_length, np.uint8) if out is None else np.frombuffer(out, np.uint8)
    raw[:lead_bytes] = np.frombuffer(view[fronts : fronts + lead_bytes], np.uint8)
    raw[stop:] = np.frombuffer(view[fronts + lead_bytes : planes_at], np.uint8)
    planes: dict[int, Plane] = {}
    for number, mode, length in entries:
        planes[number] = _decode_plane(mode, view[planes_at : planes_at + length], count)
        planes_at += length
    kernels.join([planes[number] for number in sorted(planes)], raw[lead_bytes:stop].view(word_type))
    return raw.data if out is None else out


def _low_zero_bytes(words: Words) -> int:
    """How many bytes at the low end are zero in every word; all of them if there are no words."""
    used = int(np.bitwise_or.reduce(words[:: max(words.size // 1024, 1)], initial=0))
    if used & 0xFF == 0:  # the sample makes it worth looking at them all
        used = int(np.bitwise_or.reduce(words, initial=0))
    lowest_bit = (used & -used).bit_length() - 1
    return lowest_bit // 8 if used else words.itemsize


def _look(words: Words, kept: int) -> _Outlook:
    """What a sample of the ``kept`` highest planes says."""
    sample = spread_blocks(words, _SAMPLE_BLOCKS, _SAMPLE_BLOCK_WORDS)
    planes = np.empty((kept, sample.size), np.uint8)
    kernels.split(sample, list(planes))
    counts = np.array([np.bincount(plane, minlength=256) for plane in planes]).reshape(-1, 256)
    bits = entropy_bits(counts)
    # The lowest plane is the noisiest: where even that repeats, so do the words.
    share = float(np.minimum(bits, 8).sum()) / (8 * words.itemsize)
    if kept and (left := zstd.probe(planes[0].data)) < bits[0] / 8 * _REPETITIVE:
        return _Outlook((False,) * kept, repetitive=True, share=min(left, share))
    return _Outlook(tuple(bool(plane >= _RANDOM_BITS) for plane in bits), repetitive=False, share=share)


def _encode_plane(plane: Plane, repetitive: bool) -> tuple[_Mode, Buffer]:
    if (plane[:64] == plane[0]).all() and (plane == plane[0]).all():
        return _Mode.CONSTANT, plane[:1].data
    stored = zstd.encode(plane.data) if repetitive else zstd.encode_orderly(plane.data)
    return (_Mode.ZSTD, stored) if len(stored) < plane.size * _WORTH_IT else (_Mode.RAW, plane.data)


def _decode_plane(mode: int, stored: memoryview, count: int) -> Plane:
    if mode == _Mode.ZSTD:
        return np.frombuffer(zstd.decode(stored, count), np.uint8)
    if mode == _Mode.CONSTANT and len(stored) == 1:
        return np.full(count, stored[0], np.uint8)
    if mode == _Mode.RAW and len(stored) == count:
        return np.frombuffer(stored, np.uint8)
    raise _damaged("a plane is none")


def _damaged(reason: str) -> DamagedError:
    return DamagedError("a byteplane payload", reason)
