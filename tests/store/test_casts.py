"""Casts: to the bit what IEEE 754 says, and what FORMAT.md says of NaNs."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from casstore.casts import Cast, apply_cast, casts_between, source_width, target_width

F32_BF16, F32_F16 = Cast.FLOAT32_TO_BFLOAT16, Cast.FLOAT32_TO_FLOAT16


def cast_one(cast: Cast, bits: int) -> int:
    return int(apply_cast(cast, bits.to_bytes(source_width(cast), "little"))[0])


@pytest.mark.parametrize(
    ("cast", "bits", "expected"),
    [
        (F32_BF16, 0x3F800000, 0x3F80),
        (F32_BF16, 0x3F808000, 0x3F80),  # half way: to even
        (F32_BF16, 0x3F818000, 0x3F82),
        (F32_BF16, 0x3F808001, 0x3F81),
        (F32_BF16, 0x7F7FFFFF, 0x7F80),  # too large
        (F32_BF16, 0x00000001, 0x0000),
        (F32_BF16, 0x80000000, 0x8000),
        (F32_BF16, 0x00018000, 0x0002),  # subnormal, half way
        (F32_BF16, 0x7F800001, 0x7FC0),
        (F32_BF16, 0xFFFFFFFF, 0x7FC0),
        (F32_F16, 0x3F800000, 0x3C00),
        (F32_F16, 0x477FF000, 0x7C00),  # 65520 rounds to infinity
        (F32_F16, 0x477FEFFF, 0x7BFF),
        (F32_F16, 0x33000000, 0x0000),  # half of the smallest: to even
        (F32_F16, 0x33000001, 0x0001),
        (F32_F16, 0xB8800000, 0x8400),
        (F32_F16, 0x7F800001, 0x7E00),
        (F32_F16, 0xFFC00001, 0xFE00),
        (Cast.BFLOAT16_TO_FLOAT32, 0x7F81, 0x7F810000),
        (Cast.FLOAT16_TO_FLOAT32, 0x0001, 0x33800000),
        (Cast.FLOAT16_TO_FLOAT32, 0xFC01, 0xFF802000),  # a signalling NaN stays one
        (Cast.FLOAT16_TO_FLOAT32, 0x7C00, 0x7F800000),
        (Cast.BFLOAT16_TO_FLOAT16, 0x3F80, 0x3C00),
        (Cast.FLOAT16_TO_BFLOAT16, 0x3C00, 0x3F80),
        (Cast.FLOAT16_TO_BFLOAT16, 0x7E01, 0x7FC0),
    ],
)
def test_one_word(cast: Cast, bits: int, expected: int) -> None:
    assert cast_one(cast, bits) == expected


def test_every_word_of_16_bits_goes_to_32_and_back() -> None:
    for up, down, quiet in (
        (Cast.BFLOAT16_TO_FLOAT32, F32_BF16, lambda _: 0x7FC0),
        (Cast.FLOAT16_TO_FLOAT32, F32_F16, lambda word: 0x7E00 | word & 0x8000),
    ):
        words = np.arange(1 << 16, dtype="<u2")
        wide = apply_cast(up, words.tobytes())
        back = apply_cast(down, wide.tobytes())
        is_nan = np.isnan(wide.view("<f4"))
        assert np.array_equal(back[~is_nan], words[~is_nan])
        assert all(int(back[word]) == quiet(int(word)) for word in np.flatnonzero(is_nan))


def test_rounding_is_that_of_the_nearest_number() -> None:
    words = np.random.default_rng(1).integers(0, 1 << 32, 20_000, dtype="<u4")
    words = words[np.isfinite(words.view("<f4"))]
    numbers = words.view("<f4").astype(float)
    up = {F32_BF16: Cast.BFLOAT16_TO_FLOAT32, F32_F16: Cast.FLOAT16_TO_FLOAT32}
    for down, widen in up.items():
        rounded = apply_cast(down, words.tobytes())
        for number, word in zip(numbers, rounded, strict=True):
            here, *beside = (_value(widen, int(word) + step) for step in (0, -1, 1))
            if math.isfinite(here):
                assert all(abs(number - here) <= abs(number - other) for other in beside if math.isfinite(other))


def _value(widen: Cast, word: int) -> float:
    wide = int(apply_cast(widen, (word % (1 << 16)).to_bytes(2, "little"))[0])
    return float(struct.unpack("<f", wide.to_bytes(4, "little"))[0])


def test_which_casts_there_are() -> None:
    assert casts_between(4, 2) == [F32_BF16, F32_F16]
    assert casts_between(2, 4) == [Cast.BFLOAT16_TO_FLOAT32, Cast.FLOAT16_TO_FLOAT32]
    assert casts_between(2, 2) == [Cast.NONE, Cast.BFLOAT16_TO_FLOAT16, Cast.FLOAT16_TO_BFLOAT16]
    assert casts_between(4, 4) == [Cast.NONE]
    assert casts_between(8, 4) == []
    assert (source_width(Cast.NONE), target_width(Cast.NONE)) == (0, 0)
