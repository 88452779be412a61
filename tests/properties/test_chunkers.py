"""Whatever the bytes and whatever is claimed of them, the pieces put end to end are the file."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from casstore.chunkers import cut
from casstore.chunkers.opaque import MAX_BYTES, cut_opaque
from casstore.chunkers.plan import MAX_PIECE_BYTES, plan
from casstore.chunkers.spans import Span
from casstore.sources import BytesSource

MIB = 1 << 20
NOISE = np.random.default_rng(4).bytes(12 * MIB)

any_number = st.integers(-10, 40 * MIB) | st.integers(-(1 << 70), 1 << 70)
any_span = st.builds(Span, any_number, any_number, st.integers(-1, 17), any_number, st.binary(max_size=9))


@st.composite
def honest_spans(draw: st.DrawFn) -> tuple[int, list[Span]]:
    """A file's size and spans that could be true, in any order."""
    spans, position = [], draw(st.integers(0, 100_000))
    for _ in range(draw(st.integers(0, 5))):
        width = draw(st.sampled_from((0, 1, 2, 4, 8, 16)))
        block_bytes = max(width, 1) * draw(st.integers(1, 300))
        length = block_bytes * draw(st.integers(0, 3 * MIB // block_bytes))
        spans.append(Span(position, length, width, block_bytes, draw(st.binary(max_size=8))))
        position += length + draw(st.integers(0, 200_000))
    return position, draw(st.permutations(spans))


def check(size_bytes: int, spans: list[Span]) -> None:
    data = NOISE[:size_bytes]
    position = 0
    for piece, raw in cut(BytesSource(data), spans):
        assert piece.offset == position
        assert 0 < piece.length <= MAX_PIECE_BYTES
        assert raw == data[position : position + piece.length]
        position += piece.length
    assert position == len(data)


@given(st.integers(0, 4 * MIB), st.lists(any_span, max_size=4))
@settings(max_examples=150)
def test_any_claims(size_bytes: int, spans: list[Span]) -> None:
    check(size_bytes, spans)


@given(honest_spans())
@settings(max_examples=60)
def test_claims_that_could_be_true(file: tuple[int, list[Span]]) -> None:
    size_bytes, spans = file
    check(min(size_bytes, len(NOISE)), spans)


@given(honest_spans())
@settings(max_examples=200)
def test_tensors_are_cut_only_between_blocks(file: tuple[int, list[Span]]) -> None:
    size_bytes, spans = file
    by_offset = {span.offset: span for span in spans if span.length}
    for region in plan(size_bytes, spans):
        if region.step_bytes:
            span = by_offset[region.offset]
            assert region.length == span.length == sum(region.lengths())
            assert all(length % span.block_bytes == 0 for length in region.lengths())
            assert all(0 < length <= MAX_PIECE_BYTES for length in region.lengths())


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 12 * MIB - 1), st.integers(0, 3 * MIB)), max_size=4),
    st.integers(MAX_BYTES + 1, 6 * MIB),
)
@settings(max_examples=40)
def test_cut_points_never_depend_on_the_window(stretches: list[tuple[bool, int, int]], window_bytes: int) -> None:
    data = b"".join(NOISE[start : start + n] if noisy else bytes(n) for noisy, start, n in stretches)
    whole = [piece for piece, _ in cut_opaque(BytesSource(data), 0, len(data), window_bytes=len(data) + 1)]
    assert [piece for piece, _ in cut_opaque(BytesSource(data), 0, len(data), window_bytes=window_bytes)] == whole
