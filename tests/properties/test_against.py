"""Whatever a chunk is stored against, its bytes come back; what is damaged decodes to that length or is refused."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from casstore.casts import Cast, apply_cast, source_width, target_width
from casstore.codecs import Codec, decode_against, encode_against
from casstore.errors import DamagedError


@st.composite
def chunks(draw: st.DrawFn) -> tuple[bytes, int, bytes, int]:
    """A chunk, the width of its words, a base and a cast; often alike, sometimes with few words changed."""
    cast = draw(st.sampled_from(Cast))
    width = draw(st.sampled_from((1, 2, 4, 8))) if not cast else target_width(cast)
    base_width = source_width(cast) or width
    count = draw(st.integers(0, 200))
    base = draw(st.binary(min_size=count * base_width, max_size=count * base_width))
    if draw(st.booleans()):
        return draw(st.binary(min_size=count * width, max_size=count * width)), width, base, cast
    raw = bytearray(apply_cast(cast, base).tobytes() if cast else base)
    for place in draw(st.lists(st.integers(0, max(len(raw) - 1, 0)), max_size=80)):
        if place < len(raw):
            raw[place] ^= draw(st.integers(1, 255))
    return bytes(raw), width, base, cast


@given(chunks())
@settings(max_examples=400)
def test_against_anything(chunk: tuple[bytes, int, bytes, int]) -> None:
    raw, width, base, cast = chunk
    coded = encode_against(raw, width, base, cast)
    assert coded is not None
    codec, stored = coded
    assert bytes(decode_against(codec, stored, len(raw), base, cast)) == raw
    exact = encode_against(raw, width, base, cast, must_be_exact=True)
    assert (exact is None) == (codec is Codec.DELTA)


@given(
    chunks(), st.binary(max_size=40), st.integers(0, 300), st.integers(0, 5000), st.integers(0, 255), st.integers(0, 9)
)
@settings(max_examples=400)
def test_what_is_damaged(
    chunk: tuple[bytes, int, bytes, int], more: bytes, place: int, raw_length: int, cast: int, codec: int
) -> None:
    raw, width, base, good_cast = chunk
    coded = encode_against(raw, width, base, good_cast)
    assert coded is not None
    stored = bytearray(coded[1])
    if stored:
        stored[place % len(stored)] ^= 1 + place % 255
    for payload, length, kind, number in (
        (bytes(stored), len(raw), good_cast, coded[0]),
        (bytes(stored) + more, len(raw), good_cast, coded[0]),
        (bytes(coded[1])[: place % (len(coded[1]) + 1)], len(raw), good_cast, coded[0]),
        (bytes(coded[1]), raw_length, good_cast, coded[0]),
        (bytes(coded[1]), len(raw), cast, coded[0]),
        (more, raw_length, cast, codec),
    ):
        with contextlib.suppress(DamagedError):
            assert len(decode_against(number, payload, length, base, kind)) == length
