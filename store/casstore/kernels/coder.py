"""Entropy coding of symbols by tables of frequencies: rANS in interleaved lanes.

rANS is from Duda, "Asymmetric numeral systems" (2013, arXiv:1311.2540); several coders that share one stream are from
Giesen, "Interleaved entropy coders" (2014, arXiv:1402.3392). States are 32 bits, words of the stream 16: each step
reads or writes one at most. A processor works on several lanes at once, and NumPy on all of them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from casstore.kernels.compiled import DELTAS
from casstore.kernels.words import Plane

Lanes = NDArray[np.uint32]
Stream = NDArray[np.uint16]
Slots = NDArray[np.uint32]
Entries = NDArray[np.uint32]

SCALE_BITS: Final = 11
"""The frequencies of a table sum to two to the power of this. With more, tables fit no fast cache."""

LOWEST_STATE: Final = 1 << 16
"""What every lane's state begins with in the encoder, and ends with in the decoder; none is ever below."""

_ROW_BITS: Final = 8  # tables have room for 256 symbols
_START_BITS: Final = 16  # where in an entry the start begins; below it is the frequency
_HIGH_BITS: Final = 32 - SCALE_BITS
_TOTAL: Final = 1 << SCALE_BITS
_UNROLLED: Final = 8


def entries_of(frequencies: NDArray[np.int64]) -> Entries:
    """What an encoder needs of each symbol of each table, 256 for a table: where its frequency begins, and what it is.

    The frequencies have a row for each table, and sum to 2 to the power of `SCALE_BITS`.
    """
    rows = np.zeros((len(frequencies), 1 << _ROW_BITS), np.int64)
    rows[:, : frequencies.shape[1]] = frequencies
    table = rows.ravel()
    starts = np.cumsum(table) - table & _TOTAL - 1
    return (starts << _START_BITS | table).astype(np.uint32)


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
    symbols: Plane, contexts: NDArray[np.uint16], table_of: Plane, entries: Entries, lanes: Lanes, stream: Stream
) -> int:
    """Fill ``stream`` from its end; where in it the coded words begin. ``lanes`` end as a decoder's begin.

    The stream has room for one word more than there are symbols; the lanes are a power of two.
    """
    kernel = DELTAS.find("encode")
    if kernel is not None:
        row, full = np.empty((2, lanes.size), np.uint32)
        return int(kernel(symbols, contexts, table_of, entries, row, full, lanes, stream))
    place = stream.size
    state = lanes.copy()
    for first in range((symbols.size - 1) // lanes.size * lanes.size, -1, -lanes.size):
        part = slice(first, first + lanes.size)
        entry = entries[table_of[contexts[part]].astype(np.intp) << _ROW_BITS | symbols[part]]
        frequencies = entry & np.uint32((1 << _START_BITS) - 1)
        x = state[: entry.size]
        is_full = x >> np.uint32(_HIGH_BITS) >= frequencies
        moved = x[is_full]
        stream[place - moved.size : place] = moved.astype(np.uint16)
        place -= moved.size
        x[is_full] = moved >> np.uint32(16)
        x += (entry >> np.uint32(_START_BITS)) + x // frequencies * (np.uint32(_TOTAL) - frequencies)
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
        return int(kernel(stream, count, lanes, slots, np.empty_like(lanes), np.empty_like(lanes), symbols))
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


# A row is a symbol for each lane. It is gone through several times, once for each thing that is done to it: loops that
# look things up cannot be vectorised, nor can those that take words of the stream, but all the rest can.


def _encode_loop(
    symbols: Plane, contexts: NDArray[np.uint16], table_of: Plane, entries: Entries, row: Slots, full: Lanes,
    lanes: Lanes, stream: Stream,
) -> Any:  # fmt: skip
    width, total, one = np.uintp(lanes.size), np.uintp(symbols.size), np.uintp(1)
    place = np.uintp(stream.size - 1)  # the next word to fill
    after = total
    while after:
        first = (after - one) // width * width
        size = after - first
        after = first
        for lane in range(size):
            table = np.uint32(table_of[np.uintp(contexts[first + lane])])
            row[lane] = entries[np.uintp(table << np.uint32(_ROW_BITS) | np.uint32(symbols[first + lane]))]
        for lane in range(size):
            frequency = row[lane] & np.uint32((1 << _START_BITS) - 1)
            full[lane] = np.uint32(lanes[lane] >> np.uint32(_HIGH_BITS)) >= frequency
        left = size
        while left >= np.uintp(_UNROLLED):
            for _ in range(_UNROLLED):
                left -= one
                # Written in any case, and kept by moving on: a branch would be guessed wrong.
                stream[place] = np.uint16(lanes[left])
                place -= np.uintp(full[left])
        while left:
            left -= one
            stream[place] = np.uint16(lanes[left])
            place -= np.uintp(full[left])
        for lane in range(size):
            x = lanes[lane] >> (full[lane] << np.uint32(4))
            frequency = row[lane] & np.uint32((1 << _START_BITS) - 1)
            # As doubles: their quotient is never rounded up to the next whole number, and can be vectorised.
            quotient = np.uint32(np.int64(np.float64(x) / np.float64(frequency)))
            gap = np.uint32(np.uint32(_TOTAL) - frequency)
            lanes[lane] = np.uint32(x + (row[lane] >> np.uint32(_START_BITS)) + np.uint32(quotient * gap))
    return np.int64(place) + 1


def _decode_loop(
    stream: Stream, count: int, lanes: Lanes, slots: Slots, row: Slots, moved: Lanes, symbols: Plane
) -> Any:
    width, total = np.uintp(lanes.size), np.uintp(symbols.size)
    scale, mask = np.uint32(SCALE_BITS), np.uint32(_TOTAL - 1)
    place = first = np.uintp(0)
    while first < total and place <= np.uintp(count):
        size = min(width, total - first)
        for lane in range(size):
            row[lane] = np.uint32(symbols[first + lane]) << scale | (lanes[lane] & mask)
        for lane in range(size):
            row[lane] = slots[np.uintp(row[lane])]
        for lane in range(size):
            slot = row[lane]
            symbols[first + lane] = np.uint8(slot)
            moved[lane] = (slot >> np.uint32(8) & np.uint32(0xFFF)) * (lanes[lane] >> scale) + (slot >> np.uint32(20))
        for lane in range(size):
            x = moved[lane]
            low = x < np.uint32(LOWEST_STATE)
            word = np.uint32(stream[place])
            lanes[lane] = np.uint32(x << np.uint32(16) | word) if low else x
            place += np.uintp(low)
        first += size
    return np.int64(place)


DELTAS.add(
    "encode", _encode_loop, "const uint8[]", "const uint16[]", "const uint8[]", "const uint32[]",
    "uint32[]", "uint32[]", "uint32[]", "uint16[]", result="int64",
)  # fmt: skip
DELTAS.add(
    "decode", _decode_loop, "const uint16[]", "int64", "uint32[]", "const uint32[]", "uint32[]", "uint32[]", "uint8[]",
    result="int64",
)  # fmt: skip
