"""The bytes of a delta's payload: its header, its side section, and where its other sections lie."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from casstore.codecs import zstd
from casstore.errors import DamagedError
from casstore.kernels import Plane
from casstore.kernels.coder import LOWEST_STATE, SCALE_BITS
from casstore.kernels.decays import MANTISSA_BITS, Decay
from casstore.kernels.differences import CONTEXTS, LOUD, block_count, coded_count, symbol_count
from casstore.kernels.tables import MAX_TABLES, Tables

MAX_PIECES: Final = 1024
"""A decay has no more of them."""

LANE_BITS: Final = range(3, 9)
"""With fewer lanes, NumPy would take seconds for a chunk: it decodes one symbol of each lane at a time."""

LESS_LIMIT: Final = 1 << 22
"""A piece of a decay takes fewer units in the last place off at its start."""

_HEADER: Final = struct.Struct("<BBII")
_PIECES: Final = struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class Side:
    """What a payload says beside its coded words."""

    decay: Decay | None
    tables: Tables
    states: Plane

    def to_bytes(self) -> bytes:
        """The side section before zstd."""
        decay, tables = self.decay, self.tables
        parts = [_PIECES.pack(decay.starts.size if decay else 0)]
        if decay:
            parts += [decay.starts.tobytes(), decay.less.tobytes(), decay.slopes.tobytes()]
        parts.append(bytes([len(tables.frequencies)]))
        if len(tables.frequencies):
            parts.append(tables.table_of.tobytes())
        for row in _bytes_of(tables.frequencies.astype("<u2")):
            size = int(np.flatnonzero(row.any(axis=1))[-1]) + 1
            parts += [bytes([size - 1]), row[:size, 0].tobytes(), row[:size, 1].tobytes()]
        return b"".join([*parts, self.states.tobytes()])

    @classmethod
    def from_bytes(cls, data: bytes, words: int, width: int) -> Side:
        """The side section of a payload for so many words of ``width`` bytes; DamagedError if it is none."""
        reader = Reader(memoryview(data))
        (pieces,) = _PIECES.unpack(reader.take(np.uint8, _PIECES.size).data)
        decay = _read_decay(reader, pieces) if pieces else None
        if decay is not None and width != 4:
            raise damaged("only float32 has a decay")
        count = int(reader.take(np.uint8, 1)[0])
        table_of = reader.take(np.uint8, CONTEXTS if count else 0)
        if count > MAX_TABLES or (count and int(table_of.max()) >= count):
            raise damaged("it has not the tables that it names")
        frequencies = _read_tables(reader, count, symbol_count(width))
        states = reader.take(np.uint8, block_count(words))
        if states.size and int(states.max()) > LOUD:
            raise damaged("a block has an unknown state")
        reader.finish()
        return cls(decay, Tables(table_of, frequencies), states)


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload, its sections as they are."""

    shift: int
    side: Side
    lanes: NDArray[np.uint32]
    stream: NDArray[np.uint16]
    bits: NDArray[np.uint32]

    def to_bytes(self) -> bytes:
        """The payload."""
        side = zstd.encode(self.side.to_bytes())
        header = _HEADER.pack(
            self.shift, max(self.lanes.size.bit_length() - 1, LANE_BITS.start), len(side), self.stream.size
        )
        return b"".join([header, side, self.lanes.tobytes(), self.stream.tobytes(), self.bits.tobytes()])

    @classmethod
    def from_bytes(cls, stored: memoryview, words: int, width: int) -> Payload:
        """The payload for so many words of ``width`` bytes; DamagedError if it is none."""
        reader = Reader(stored)
        shift, lane_bits, side_length, stream_words = _HEADER.unpack(reader.take(np.uint8, _HEADER.size).data)
        if shift >= 8 * width or lane_bits not in LANE_BITS:
            raise damaged("its header is none")
        side = Side.from_bytes(
            zstd.decode_at_most(reader.take(np.uint8, side_length).data, _longest_side(words)), words, width
        )
        coded = coded_count(side.states, words)
        lanes = reader.take(np.uint32, 1 << lane_bits if coded else 0)
        stream = reader.take(np.uint16, stream_words)
        bits = reader.take(np.uint32, reader.left // 4)
        reader.finish()
        if coded and (not len(side.tables.frequencies) or int(lanes.min()) < LOWEST_STATE):
            raise damaged("nothing codes its words")
        return cls(shift, side, lanes, stream, bits)


class Reader:
    """Reads arrays one after the other; they lie in the bytes read, at any address."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        """Bytes that are still to be read."""
        return len(self._data) - self._position

    def take(self, dtype: DTypeLike, count: int) -> NDArray[Any]:
        """The next items; DamagedError if there are fewer."""
        item = np.dtype(dtype).newbyteorder("<")
        if count * item.itemsize > self.left:
            raise damaged("it is cut short")
        items = np.frombuffer(self._data, item, count, self._position)
        self._position += items.nbytes
        return items

    def finish(self) -> None:
        """DamagedError if anything is left."""
        if self.left:
            raise damaged("it goes on after its end")


def damaged(reason: str) -> DamagedError:
    """The error for a payload that is none."""
    return DamagedError("a delta payload", reason)


def _read_decay(reader: Reader, pieces: int) -> Decay:
    if pieces > MAX_PIECES:
        raise damaged("its decay has too many pieces")
    starts, less, slopes = (reader.take(dtype, pieces).copy() for dtype in (np.uint32, np.int32, np.int32))
    rising = starts[0] == 0 and (starts[1:] > starts[:-1]).all() and int(starts[-1]) < 1 << MANTISSA_BITS
    if not rising or (np.abs(less.astype(np.int64)) >= LESS_LIMIT).any():
        raise damaged("its decay is none")
    return Decay(starts, less, slopes)


def _read_tables(reader: Reader, count: int, most_symbols: int) -> NDArray[np.int64]:
    frequencies = np.zeros((count, most_symbols), "<u2")
    for row in _bytes_of(frequencies):
        size = int(reader.take(np.uint8, 1)[0]) + 1
        if size > most_symbols:
            raise damaged("a table has symbols that no word has")
        row[:size] = reader.take(np.uint8, 2 * size).reshape(2, size).T
    tables = frequencies.astype(np.int64)
    if (tables.sum(axis=1) != 1 << SCALE_BITS).any():
        raise damaged("a table does not add up")
    return tables


def _bytes_of(frequencies: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Of each row the symbols, of each of these the lower byte and the higher."""
    return frequencies.view(np.uint8).reshape(*frequencies.shape, 2)


def _longest_side(words: int) -> int:
    return _PIECES.size + 12 * MAX_PIECES + 1 + CONTEXTS + MAX_TABLES * 513 + block_count(words)
