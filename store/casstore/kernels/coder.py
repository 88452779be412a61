"""Entropy coding of symbols by tables of frequencies: rANS in interleaved lanes.

rANS is from Duda, "Asymmetric numeral systems" (2013, arXiv:1311.2540); several coders that share one stream are from
Giesen, "Interleaved entropy coders" (2014, arXiv:1402.3392). States are 32 bits, words of the stream 16: each step
reads or writes one at most. A processor works on several lanes at once, and NumPy on all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from casstore.kernels.compiled import DELTAS
from casstore.kernels.words import Plane

Lanes = NDArray[np.uint32]
Stream = NDArray[np.uint16]
Slots = NDArray[np.uint32]

SCALE_BITS: Final = 11
"""The frequencies of a table sum to two to the power of this. With more, tables fit no fast cache."""

LOWEST_STATE: Final = 1 << 16
"""What every lane's state begins with in the encoder, and ends with in the decoder; none is ever below."""

_ROW_BITS: Final = 8  # tables have room for 256 symbols
_RECIPROCAL_BITS: Final = 32 + SCALE_BITS


@dataclass(frozen=True, slots=True)
class Steps:
    """What an encoder needs of each symbol of each table: 256 entries for a table.

    For a frequency f, the reciprocal is ceil(2^43 / f): with states below 2^21 * f and f of at most 2^11, its product
    with a state has the exact quotient above bit 43, and never more than 64 bits.
    """

    highest: NDArray[np.uint32]
    """The highest state that a symbol can be added to."""
    starts: NDArray[np.uint32]
    gaps: NDArray[np.uint32]
    """The sum of all frequencies but the symbol's."""
    reciprocals: NDArray[np.uint64]


def steps_of(frequencies: NDArray[np.int64]) -> Steps:
    """From the frequencies of each table, a row for each, that sum to 2 to the power of `SCALE_BITS`."""
    rows = np.zeros((len(frequencies), 1 << _ROW_BITS), np.int64)
    rows[:, : frequencies.shape[1]] = frequencies
    table = rows.ravel()
    return Steps(
        ((table << 32 - SCALE_BITS) - 1).astype(np.uint32),
        (np.cumsum(table) - table & (1 << SCALE_BITS) - 1).astype(np.uint32),
        ((1 << SCALE_BITS) - table).astype(np.uint32),
        -(-(1 << _RECIPROCAL_BITS) // np.maximum(table, 1)).astype(np.uint64),
    )


def slots_of(frequencies: NDArray[np.int64]) -> Slots:
    """For each remainder in each table: the symbol (8 bits), its frequency (12), and how far in it the remainder is."""
    table = frequencies.ravel()
    symbols = np.tile(np.arange(frequencies.shape[1]), len(frequencies))
    starts = np.cumsum(table) - table & (1 << SCALE_BITS) - 1
    entries = (symbols + (table << 8) - (starts << 20)).astype(np.uint32)  # the starts go below zero, and come back
    slots: Slots = np.repeat(entries, table).reshape(len(frequencies), -1)
    slots += np.arange(1 << SCALE_BITS, dtype=np.uint32) << np.uint32(20)
    return slots.ravel()


def encode(
    symbols: Plane, contexts: NDArray[np.uint16], table_of: Plane, steps: Steps, lanes: Lanes, stream: Stream
) -> int:
    """Fill ``stream`` from its end; where in it the coded words begin. ``lanes`` end as a decoder's begin.

    The stream has room for one word more than there are symbols; the lanes are a power of two.
    """
    kernel = DELTAS.find("encode")
    if kernel is not None:
        return int(
            kernel(
                symbols, contexts, table_of, steps.highest, steps.starts, steps.gaps, steps.reciprocals, lanes, stream
            )
        )
    place = stream.size
    state = lanes.copy()
    for first in range((symbols.size - 1) // lanes.size * lanes.size, -1, -lanes.size):
        part = slice(first, first + lanes.size)
        entries = table_of[contexts[part]].astype(np.intp) << _ROW_BITS | symbols[part]
        x = state[: entries.size]
        full = x > steps.highest[entries]
        moved = x[full]
        stream[place - moved.size : place] = moved.astype(np.uint16)
        place -= moved.size
        x[full] = moved >> np.uint32(16)
        quotients = (x * steps.reciprocals[entries] >> np.uint64(_RECIPROCAL_BITS)).astype(np.uint32)
        x += steps.starts[entries] + quotients * steps.gaps[entries]
    lanes[:] = state
    return place


def decode(stream: Stream, lanes: Lanes, slots: Slots, symbols: Plane) -> int:
    """Put symbols in the place of the numbers of their tables; how many words of the stream that took.

    The stream is followed by a word for each lane that does not count. If more words are taken than do count, the
    symbols mean nothing, and some may still be numbers of tables. ``lanes`` are left as they end.
    """
    count = stream.size - lanes.size
    kernel = DELTAS.find("decode")
    if kernel is not None:
        return int(kernel(stream, count, lanes, slots, symbols))
    place = 0
    for first in range(0, symbols.size, lanes.size):
        if place > count:
            break
        tables = symbols[first : first + lanes.size]
        x = lanes[: tables.size]
        slot = slots[tables.astype(np.uint32) << np.uint32(SCALE_BITS) | x & np.uint32((1 << SCALE_BITS) - 1)]
        tables[:] = slot.astype(np.uint8)
        x >>= np.uint32(SCALE_BITS)
        x *= slot >> np.uint32(8) & np.uint32(0xFFF)
        x += slot >> np.uint32(20)
        low = np.flatnonzero(x < LOWEST_STATE)
        x[low] = x[low] << np.uint32(16) | stream[place : place + low.size]
        place += low.size
    return place


def _encode_loop(
    symbols: Plane, contexts: NDArray[np.uint16], table_of: Plane, highest: NDArray[np.uint32],
    starts: NDArray[np.uint32], gaps: NDArray[np.uint32], reciprocals: NDArray[np.uint64], lanes: Lanes, stream: Stream,
) -> Any:  # fmt: skip
    mask = np.uintp(lanes.size - 1)
    i = np.uintp(symbols.size)
    place = np.uintp(stream.size - 1)  # the next word to fill
    for _ in range(symbols.size):
        i -= np.uintp(1)
        lane = i & mask
        entry = np.uintp(table_of[np.uintp(contexts[i])]) << np.uintp(_ROW_BITS) | np.uintp(symbols[i])
        x = lanes[lane]
        full = x > highest[entry]
        stream[place] = np.uint16(x)  # written in any case, and kept by moving on: a branch would be guessed wrong
        place -= np.uintp(full)
        x = np.uint32(x >> np.uint32(16)) if full else x
        quotient = np.uint32((np.uint64(x) * reciprocals[entry]) >> np.uint64(_RECIPROCAL_BITS))
        lanes[lane] = np.uint32(x + starts[entry] + np.uint32(quotient * gaps[entry]))
    return np.int64(place) + 1


def _decode_loop(stream: Stream, count: int, lanes: Lanes, slots: Slots, symbols: Plane) -> Any:
    total, width = np.uintp(symbols.size), np.uintp(lanes.size)
    scale, mask = np.uint32(SCALE_BITS), np.uint32((1 << SCALE_BITS) - 1)
    place = i = np.uintp(0)
    while i < total and place <= np.uintp(count):
        for lane in range(min(width, total - i)):
            x = lanes[lane]
            slot = slots[np.uintp(np.uint32(symbols[i]) << scale | (x & mask))]
            symbols[i] = np.uint8(slot)
            x = np.uint32((slot >> np.uint32(8) & np.uint32(0xFFF)) * (x >> scale) + (slot >> np.uint32(20)))
            low = x < np.uint32(LOWEST_STATE)
            word = np.uint32(stream[place])
            lanes[lane] = np.uint32(x << np.uint32(16) | word) if low else x
            place += np.uintp(low)
            i += np.uintp(1)
    return np.int64(place)


DELTAS.add(
    "encode", _encode_loop, "const uint8[]", "const uint16[]", "const uint8[]", "const uint32[]",
    "const uint32[]", "const uint32[]", "const uint64[]", "uint32[]", "uint16[]", result="int64",
)  # fmt: skip
DELTAS.add("decode", _decode_loop, "const uint16[]", "int64", "uint32[]", "const uint32[]", "uint8[]", result="int64")
