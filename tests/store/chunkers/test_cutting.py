"""Cutting whole files."""

from __future__ import annotations

import numpy as np
import pytest

from casstore.chunkers import ShortReadError, cut
from casstore.chunkers.spans import Piece, Span
from casstore.sources import BytesSource

MIB = 1 << 20
DATA = np.random.default_rng(2).bytes(7 * MIB)


def pieces(data: bytes, spans: list[Span]) -> list[Piece]:
    found = []
    for piece, raw in cut(BytesSource(data), spans):
        assert raw == data[piece.offset : piece.offset + piece.length]
        found.append(piece)
    return found


def test_an_empty_file_has_no_pieces() -> None:
    assert pieces(b"", []) == []


def test_tensors_are_cut_at_their_steps() -> None:
    found = pieces(DATA, [Span(1000, 5 * MIB, 4, 4)])
    assert [(piece.offset, piece.length, piece.item_width) for piece in found[:4]] == [
        (0, 1000, 0),
        (1000, 2 * MIB, 4),
        (1000 + 2 * MIB, 2 * MIB, 4),
        (1000 + 4 * MIB, MIB, 4),
    ]
    assert all(piece.item_width == 0 for piece in found[4:])
    assert found[-1].offset + found[-1].length == len(DATA)


def test_a_tensor_gives_the_same_chunks_wherever_it_lies() -> None:
    def chunks(offset: int) -> list[bytes]:
        data = DATA[:offset] + DATA[MIB : 4 * MIB]
        spans = [Span(offset, 3 * MIB, 2, 2)]
        return [bytes(raw) for piece, raw in cut(BytesSource(data), spans) if piece.item_width]

    assert chunks(0) == chunks(8) == chunks(12_345)


def test_keys_name_the_elements_and_not_the_type_or_the_place() -> None:
    def keys(offset: int, width: int, key: bytes) -> list[bytes]:
        span = Span(offset, width * (7 << 19) // 4, width, width, key)
        return [piece.key for piece in pieces(DATA, [span]) if piece.item_width]

    assert keys(0, 4, b"layer.0!") == keys(999, 2, b"layer.0!")
    assert len(set(keys(0, 4, b"layer.0!"))) == len(keys(0, 4, b"layer.0!")) > 1
    assert {len(key) for key in keys(0, 4, b"layer.0!")} == {8}
    assert not set(keys(0, 4, b"layer.0!")) & set(keys(0, 4, b"layer.1!"))
    assert set(keys(0, 4, b"")) == {b""}


def test_lying_spans_cut_like_none() -> None:
    assert pieces(DATA, [Span(5, 7 * MIB, 4, 4)]) == pieces(DATA, [])


def test_a_source_that_shrank_within_a_tensor_is_an_error() -> None:
    class Shrunk(BytesSource):
        size_bytes = 4 * MIB

    with pytest.raises(ShortReadError) as caught:
        list(cut(Shrunk(DATA[: 3 * MIB]), [Span(0, 4 * MIB, 4, 4)]))
    assert (caught.value.offset, caught.value.wanted, caught.value.got) == (2 * MIB, 2 * MIB, MIB)
