"""A delta's payload read as FORMAT.md says, one word and one bit at a time."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import zstandard

SCALE_BITS = 11
BLOCK_WORDS = 128


def decode(payload: bytes, expected: Sequence[int], width: int) -> list[int]:
    """The words that the payload makes of those expected."""
    bits = 8 * width
    shift, lane_bits, side_length, stream_words = struct.unpack_from("<BBII", payload)
    position = 10 + side_length
    side = zstandard.ZstdDecompressor().decompress(payload[10:position])
    predicted, table_of, tables, states = _read_side(side, expected, width)
    state_of = [states[number // BLOCK_WORDS] for number in range(len(expected))]
    coded = [number for number, state in enumerate(state_of) if state]
    lanes = list(struct.unpack_from(f"<{1 << lane_bits}I", payload, position)) if coded else []
    position += 4 * len(lanes)
    stream = iter(struct.unpack_from(f"<{stream_words}H", payload, position))
    fields = int.from_bytes(payload[position + 2 * stream_words :], "little")
    words = list(predicted)
    for turn, number in enumerate(coded):
        context = (predicted[number] & (1 << bits - 1) - 1) >> shift & 255
        frequencies = tables[table_of[256 * (state_of[number] - 1) + context]]
        symbol, lane = _step(lanes[turn % len(lanes)], frequencies, stream)
        lanes[turn % len(lanes)] = lane
        magnitude, used = _magnitude(symbol, fields)
        fields >>= used
        difference = -magnitude if symbol % 2 == 0 else magnitude
        words[number] = _ordered(_ordered(predicted[number], bits) + difference & (1 << bits) - 1, bits)
    assert list(stream) == []
    assert set(lanes) <= {1 << 16}
    assert fields == 0
    return words


def _read_side(side: bytes, expected: Sequence[int], width: int) -> tuple[list[int], bytes, list[list[int]], bytes]:
    (pieces,) = struct.unpack_from("<H", side)
    starts, less, slopes = (
        struct.unpack_from(f"<{pieces}{kind}", side, 2 + 4 * pieces * number) for number, kind in enumerate("Iii")
    )
    position = 2 + 12 * pieces
    predicted = [_decayed(word, starts, less, slopes) for word in expected] if pieces else list(expected)
    count = side[position]
    position += 1
    table_of = side[position : position + 512] if count else b""
    position += len(table_of)
    tables = []
    for _ in range(count):
        size = side[position] + 1
        low, high = side[position + 1 : position + 1 + size], side[position + 1 + size : position + 1 + 2 * size]
        tables.append([one + 256 * other for one, other in zip(low, high, strict=True)])
        position += 1 + 2 * size
    states = side[position:]
    assert len(states) == -(-len(expected) // BLOCK_WORDS)
    return predicted, table_of, tables, states


def _decayed(word: int, starts: Sequence[int], less: Sequence[int], slopes: Sequence[int]) -> int:
    if not 0 < word >> 23 & 255 < 255:
        return word
    mantissa = word & (1 << 23) - 1
    piece = max(number for number, start in enumerate(starts) if start <= mantissa)
    return (word - less[piece] - ((mantissa - starts[piece]) * slopes[piece] >> 32)) % (1 << 32)


def _step(state: int, frequencies: Sequence[int], stream: Iterator[int]) -> tuple[int, int]:
    remainder = state % (1 << SCALE_BITS)
    symbol = start = 0
    while remainder >= start + frequencies[symbol]:
        start += frequencies[symbol]
        symbol += 1
    state = frequencies[symbol] * (state >> SCALE_BITS) + remainder - start
    return symbol, (state << 16 | next(stream)) if state < 1 << 16 else state


def _magnitude(symbol: int, fields: int) -> tuple[int, int]:
    """And how many bits of the fields it took."""
    if symbol < 3:
        return (0, 1, 1)[symbol], 0
    low_bits = (symbol - 3) // 4
    return (2 + (symbol - 3) // 2 % 2) << low_bits | fields & (1 << low_bits) - 1, low_bits


def _ordered(word: int, bits: int) -> int:
    return word ^ (1 << bits - 1) - 1 if word >> bits - 1 else word
