"""The low bits of magnitudes, which no symbol tells: fields of bits, end to end.

FORMAT.md, "Codecs", defines them. Bits go into 32-bit words, lowest first.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from casstore.kernels.compiled import DELTAS, Kernel
from casstore.kernels.words import WORD_TYPES, Plane, Words

Bits = NDArray[np.uint32]

PADDING_WORDS: Final = 2
"""Bits to read from are followed by so many words more, which hold nothing; so are bits to be filled."""

_FIRST_WITH_FIELD: Final = 7
"""Symbols before this one tell all of a magnitude."""

_SEGMENT: Final = 1 << 16  # see differences
_RUN: Final = 128

FIELD_BITS: Final = np.zeros(256, np.uint8)
"""How many low bits of the magnitude are in the field that goes with a symbol."""
FIELD_BITS[3:255] = np.arange(252) >> 2

_LOWEST: Final = np.zeros(256, np.uint64)  # the magnitude with a field of zeros
_LOWEST[1:3] = 1
_LOWEST[3:255] = [(2 + (class_ >> 1 & 1)) << (class_ >> 2) for class_ in range(252)]


def room_words(count: int, width: int) -> int:
    """How many 32-bit words the fields of so many words of ``width`` bytes fill at most, with the padding."""
    return -(-count * (8 * width - 2) // 32) + PADDING_WORDS


def pack(magnitudes: Words, symbols: Plane, bits: Bits) -> int:
    """Fill ``bits`` with the symbols' fields; how many bits that are. What follows in the last word is zero."""
    kernel = DELTAS.find(f"pack{magnitudes.itemsize}")
    return pack_numpy(magnitudes, symbols, bits) if kernel is None else int(kernel(magnitudes, symbols, bits))


def unpack(bits: Bits, symbols: Plane, magnitudes: Words) -> int:
    """Fill ``magnitudes``; how many bits the symbols' fields have, which may be more than there are."""
    kernel = DELTAS.find(f"unpack{magnitudes.itemsize}")
    return unpack_numpy(bits, symbols, magnitudes) if kernel is None else int(kernel(bits, symbols, magnitudes))


def pack_numpy(magnitudes: Words, symbols: Plane, bits: Bits) -> int:
    """What `pack` does, in NumPy."""
    bits[:] = 0
    used = 0
    for start in range(0, symbols.size, _SEGMENT):
        lengths = FIELD_BITS[symbols[start : start + _SEGMENT]].astype(np.int64)
        ends = used + np.cumsum(lengths)
        places = ends - lengths
        fields = magnitudes[start : start + _SEGMENT].astype(np.uint64) & _ones(lengths)
        first = used >> 5
        used = int(ends[-1])
        touched = (used >> 5) - first + 1
        for half, at in ((fields & np.uint64(0xFFFFFFFF), places), (fields >> np.uint64(32), places + 32)):
            some = np.flatnonzero(half)
            moved = half[some] << (at[some] & 31).astype(np.uint64)
            into = (at[some] >> 5) - first
            # No two fields share a bit, so sums of them are exact, and the same as if they were or'ed.
            for part, word in ((moved & np.uint64(0xFFFFFFFF), into), (moved >> np.uint64(32), into + 1)):
                sums = np.bincount(word, part.astype(np.float64), touched + 1)
                bits[first : first + touched] |= sums[:touched].astype(np.uint32)
    return used


def unpack_numpy(bits: Bits, symbols: Plane, magnitudes: Words) -> int:
    """What `unpack` does, in NumPy."""
    used = 0
    last = bits.size - PADDING_WORDS
    for start in range(0, symbols.size, _SEGMENT):
        part = symbols[start : start + _SEGMENT]
        lengths = FIELD_BITS[part].astype(np.int64)
        ends = used + np.cumsum(lengths)
        places = ends - lengths
        used = int(ends[-1])
        fields = _bits_at(bits, places, last)
        if magnitudes.itemsize == 8:
            fields |= _bits_at(bits, places + 32, last) << np.uint64(32)
        magnitudes[start : start + _SEGMENT] = _LOWEST[part] + (fields & _ones(lengths))
    return used


def _ones(lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    return (np.uint64(1) << lengths.astype(np.uint64)) - np.uint64(1)


def _bits_at(bits: Bits, places: NDArray[np.int64], last: int) -> NDArray[np.uint64]:
    """The 32 bits from each place on."""
    word = np.minimum(places >> 5, last)
    pair = bits[word + 1].astype(np.uint64) << np.uint64(32) | bits[word]
    found: NDArray[np.uint64] = pair >> (places & 31).astype(np.uint64) & np.uint64(0xFFFFFFFF)
    return found


def _pack_loop(width: int) -> Kernel:
    is_wide = width == 8
    half, low_half = np.uint64(32), np.uint64(0xFFFFFFFF)
    one, none = np.uint64(1), np.uint64(0)

    def pack(magnitudes: Words, symbols: Plane, bits: Bits) -> Any:
        word = np.uintp(0)
        filled = held = none  # bits that wait for their word, the lowest first
        for start in range(0, symbols.size, _RUN):
            symbol, magnitude = symbols[start : start + _RUN], magnitudes[start : start + _RUN]
            highest = np.uint8(0)
            for i in range(symbol.size):
                highest = max(highest, symbol[i])
            if highest < _FIRST_WITH_FIELD:
                continue
            for i in range(symbol.size):
                length = np.uint64(FIELD_BITS[np.uintp(symbol[i])])
                field = np.uint64(magnitude[i]) & ((one << length) - one)
                if is_wide and length > half:
                    held |= (field & low_half) << filled
                    bits[word] = np.uint32(held)
                    word += np.uintp(1)
                    held >>= half
                    field >>= half
                    length -= half
                held |= field << filled
                filled += length
                bits[word] = np.uint32(held)
                word += np.uintp(filled >> np.uint64(5))
                held >>= filled & half
                filled &= np.uint64(31)
        bits[word] = np.uint32(held)
        return np.int64(word) * 32 + np.int64(filled)

    return pack


def _unpack_loop(width: int) -> Kernel:
    is_wide = width == 8
    wide, word_type = (np.uint64 if is_wide else np.uint32), WORD_TYPES[width].type
    lowest = _LOWEST if is_wide else _LOWEST.astype(np.uint32)
    one = np.uint64(1)

    def unpack(bits: Bits, symbols: Plane, magnitudes: Words) -> Any:
        place = np.uintp(0)
        last = np.uintp(bits.size - PADDING_WORDS)
        for start in range(0, symbols.size, _RUN):
            symbol, magnitude = symbols[start : start + _RUN], magnitudes[start : start + _RUN]
            highest = np.uint8(0)
            for i in range(symbol.size):
                highest = max(highest, symbol[i])
            if highest < _FIRST_WITH_FIELD:
                for i in range(symbol.size):
                    magnitude[i] = word_type((np.uint32(symbol[i]) + np.uint32(1)) >> np.uint32(1))
                continue
            for i in range(symbol.size):
                length = np.uintp(FIELD_BITS[np.uintp(symbol[i])])
                word = min(place >> np.uintp(5), last)
                pair = np.uint64(bits[word + np.uintp(1)]) << np.uint64(32) | np.uint64(bits[word])
                field = pair >> (np.uint64(place) & np.uint64(31))
                if is_wide:
                    word = min(word + np.uintp(1), last)
                    pair = np.uint64(bits[word + np.uintp(1)]) << np.uint64(32) | np.uint64(bits[word])
                    upper = pair >> (np.uint64(place) & np.uint64(31))
                    field = (field & np.uint64(0xFFFFFFFF)) | (upper << np.uint64(32))
                field &= (one << np.uint64(length)) - one
                magnitude[i] = word_type(lowest[np.uintp(symbol[i])] + wide(field))
                place += length
        return np.int64(place)

    return unpack


for _width in WORD_TYPES:
    _words = f"uint{8 * _width}[]"
    DELTAS.add(f"pack{_width}", _pack_loop(_width), f"const {_words}", "const uint8[]", "uint32[]", result="int64")
    DELTAS.add(f"unpack{_width}", _unpack_loop(_width), "const uint32[]", "const uint8[]", _words, result="int64")
