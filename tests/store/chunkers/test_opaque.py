"""Content-defined cutting: cut points that are part of the store's economy, in bounded memory."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from casstore.buffers import Buffer
from casstore.chunkers import ShortReadError
from casstore.chunkers.opaque import AVERAGE_BYTES, MAX_BYTES, MIN_BYTES, cut_opaque
from casstore.chunkers.spans import Piece
from casstore.sources import BytesSource

MIB = 1 << 20
NOISE = hashlib.shake_128(b"the bytes that golden cut points are taken from").digest(6 * MIB)


class Watched(BytesSource):
    """Bytes in memory; keeps the length of every read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[int] = []

    def read_at(self, offset: int, length: int) -> bytes:
        self.reads.append(length)
        return super().read_at(offset, length)


def pieces(data: bytes, offset: int = 0, length: int | None = None, **options: int) -> list[tuple[Piece, Buffer]]:
    return list(cut_opaque(BytesSource(data), offset, len(data) - offset if length is None else length, **options))


def lengths(data: bytes, **options: int) -> list[int]:
    return [piece.length for piece, _ in pieces(data, **options)]


def test_golden_cut_points() -> None:
    """If these move, every file stored from then on misses the chunks that are there."""
    assert lengths(NOISE) == [
        418_070,
        569_707,
        682_103,
        914_740,
        708_425,
        658_910,
        579_205,
        704_587,
        339_549,
        326_971,
        389_189,
    ]


def test_golden_parameters() -> None:
    assert (MIN_BYTES, AVERAGE_BYTES, MAX_BYTES) == (128 << 10, 512 << 10, 2 << 20)


def test_the_bytes_are_those_of_the_pieces() -> None:
    position = 1000
    for piece, data in pieces(NOISE, position, 3 * MIB):
        assert piece == Piece(position, len(data))
        assert data == NOISE[position : position + piece.length]
        position += piece.length
    assert position == 1000 + 3 * MIB


@pytest.mark.parametrize("length", [0, 1, MIN_BYTES, MIN_BYTES + 1, MAX_BYTES, MAX_BYTES + 1, 3 * MAX_BYTES])
def test_bytes_without_any_variety(length: int) -> None:
    found = lengths(bytes(length))
    assert sum(found) == length
    assert all(0 < piece <= MAX_BYTES for piece in found)
    assert all(piece >= MIN_BYTES for piece in found[:-1])


@pytest.mark.parametrize("window_bytes", [MAX_BYTES + 1, 3 * MIB + 17, 6 * MIB - 1, 6 * MIB, 64 * MIB])
@pytest.mark.parametrize("data", [NOISE, bytes(5 * MIB + 3), NOISE[:MIB] + bytes(4 * MIB) + NOISE[MIB:]])
def test_cut_points_do_not_depend_on_the_window(data: bytes, window_bytes: int) -> None:
    assert lengths(data, window_bytes=window_bytes) == lengths(data)


def test_an_insertion_changes_only_the_pieces_around_it() -> None:
    before = {bytes(data) for _, data in pieces(NOISE)}
    after = {bytes(data) for _, data in pieces(NOISE[:MIB] + b"inserted" + NOISE[MIB:])}
    assert len(after - before) <= 2


def test_reads_are_windows_however_long_the_source_is() -> None:
    source = Watched(np.random.default_rng(1).bytes(40 * MIB))
    assert sum(piece.length for piece, _ in cut_opaque(source, 0, source.size_bytes)) == source.size_bytes
    assert max(source.reads) <= 8 * MIB
    assert sum(source.reads) < 1.25 * source.size_bytes


@pytest.mark.parametrize("there", [0, 100, 2 * MIB, 3 * MIB - 1])
def test_a_source_that_shrank_is_an_error(there: int) -> None:
    with pytest.raises(ShortReadError):
        list(cut_opaque(BytesSource(NOISE[:there]), 0, 3 * MIB, window_bytes=MAX_BYTES + 1))
