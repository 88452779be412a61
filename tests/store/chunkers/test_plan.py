"""Plans: how spans become regions, and which spans are not believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casstore.chunkers.plan import MAX_PIECE_BYTES, MAX_SPANS, Region, plan
from casstore.chunkers.spans import Span

MIB = 1 << 20
TENSOR = Span(100, 400_000, 4, 4, b"somekey!")
SIZE = 2 * MIB


def opaque(offset: int, length: int) -> Region:
    return Region(offset, length)


def test_an_empty_file_has_no_regions() -> None:
    assert plan(0, []) == []


def test_a_file_without_spans_is_one_opaque_region() -> None:
    assert plan(SIZE, []) == [opaque(0, SIZE)]


def test_header_gap_and_tail_lie_between_the_tensors() -> None:
    other = replace(TENSOR, offset=500_000, item_width=2, block_bytes=2)
    assert plan(SIZE, [other, TENSOR]) == [
        opaque(0, 100),
        Region(100, 400_000, 2 * MIB, 4, b"somekey!"),
        opaque(400_100, 99_900),
        Region(500_000, 400_000, MIB, 2, b"somekey!"),
        opaque(900_000, SIZE - 900_000),
    ]


def test_a_tensor_may_be_the_whole_file() -> None:
    assert plan(400_000, [replace(TENSOR, offset=0)]) == [Region(0, 400_000, 2 * MIB, 4, b"somekey!")]


@pytest.mark.parametrize(("width", "small_bytes"), [(0, 4095), (1, 4095), (2, 8190), (4, 16_380), (16, 65_520)])
def test_small_tensors_run_together_with_what_is_around_them(width: int, small_bytes: int) -> None:
    small = Span(10, small_bytes, width, max(width, 1))
    large = replace(small, offset=70_000, length=small_bytes + max(width, 1))
    assert plan(SIZE, [small]) == [opaque(0, SIZE)]
    assert [region.step_bytes > 0 for region in plan(SIZE, [small, large])] == [False, True, False]


@pytest.mark.parametrize(
    ("width", "block_bytes", "step_bytes"),
    [
        (16, 16, 8 * MIB),
        (8, 8, 4 * MIB),
        (4, 4, 2 * MIB),
        (2, 2, MIB),
        (1, 1, MIB),
        (0, 1, MIB),
        (0, 34, MIB // 34 * 34),
        (0, 3 * MIB, 3 * MIB),
        (2, 6, MIB // 6 * 6),
    ],
)
def test_steps_are_elements_or_whole_blocks(width: int, block_bytes: int, step_bytes: int) -> None:
    span = Span(0, block_bytes * (12 * MIB // block_bytes), width, block_bytes)
    assert plan(span.length, [span])[0].step_bytes == step_bytes


@pytest.mark.parametrize(
    ("length", "step_bytes", "lengths"),
    [
        (5, 10, [5]),
        (10, 10, [10]),
        (14, 10, [14]),
        (15, 10, [10, 5]),
        (34, 10, [10, 10, 14]),
        (36, 10, [10, 10, 10, 6]),
        (9 * MIB, 8 * MIB, [8 * MIB, MIB]),
        (7 * MIB, 6 * MIB, [7 * MIB]),
    ],
)
def test_a_short_tail_joins_the_last_piece_if_that_is_not_too_long(
    length: int, step_bytes: int, lengths: list[int]
) -> None:
    assert Region(0, length, step_bytes).lengths() == lengths


def test_the_forms_of_a_tensor_are_cut_at_the_same_elements() -> None:
    elements = 10 * (1 << 19) + 7777
    cuts = {
        width: [
            length // width for length in plan(elements * width, [Span(0, elements * width, width, width)])[0].lengths()
        ]
        for width in (2, 4, 8)
    }
    assert cuts[2] == cuts[4] == cuts[8]
    assert len(cuts[4]) == 10


def test_empty_tensors_are_no_lie() -> None:
    empty = [Span(100, 0, 4, 4), Span(500_100 - 100_000, 0, 4, 4), Span(SIZE, 0, 4, 4)]
    assert len(plan(SIZE, [TENSOR, *empty])) == 3


LIES = {
    "before the start": [replace(TENSOR, offset=-1)],
    "negative length": [replace(TENSOR, length=-4)],
    "past the end": [replace(TENSOR, offset=SIZE - 399_996)],
    "beginning past the end": [replace(TENSOR, offset=SIZE + 1, length=0)],
    "huge": [replace(TENSOR, length=1 << 80)],
    "overlap": [TENSOR, replace(TENSOR, offset=400_096)],
    "overlap with a small one": [TENSOR, Span(200, 4, 4, 4)],
    "an empty one inside another": [TENSOR, Span(200, 0, 4, 4)],
    "the same twice": [TENSOR, TENSOR],
    "not whole elements": [replace(TENSOR, length=399_998)],
    "not whole blocks": [replace(TENSOR, item_width=0, block_bytes=34)],
    "blocks of half elements": [replace(TENSOR, block_bytes=6)],
    "no block": [replace(TENSOR, block_bytes=0)],
    "a negative block": [replace(TENSOR, block_bytes=-4)],
    "a huge block": [Span(0, MAX_PIECE_BYTES + 4, 4, MAX_PIECE_BYTES + 4)],
    "a width that no type has": [replace(TENSOR, item_width=3, block_bytes=3, length=300_000)],
    "a negative width": [replace(TENSOR, item_width=-4)],
    "too many": [Span(number, 0, 1, 1) for number in range(MAX_SPANS + 1)],
}


@pytest.mark.parametrize("spans", LIES.values(), ids=LIES.keys())
def test_one_lie_makes_the_file_opaque(spans: list[Span]) -> None:
    size = 16 * MIB if spans == LIES["a huge block"] else SIZE
    good = Span(size - 20_000, 20_000, 1, 1) if spans != LIES["past the end"] else Span(0, 50, 1, 1)
    assert plan(size, [*spans, good]) == [opaque(0, size)]
    assert plan(size, [good]) != [opaque(0, size)] or good.length == 50
