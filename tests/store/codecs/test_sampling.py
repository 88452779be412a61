"""Guesses at the layout of unknown bytes."""

from __future__ import annotations

import numpy as np
import pytest

from casstore.codecs.sampling import entropy_bits, guess_layout, spread_blocks

WEIGHTS = np.random.default_rng(5).normal(0, 0.02, 200_000)
FLOATS = {
    "fp64": (WEIGHTS.astype("<f8").tobytes(), 8),
    "fp32": (WEIGHTS.astype("<f4").tobytes(), 4),
    "fp16": (WEIGHTS.astype("<f2").tobytes(), 2),
    "bf16": ((WEIGHTS.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes(), 2),
    "fp32 that were bf16": ((WEIGHTS.astype("<f4").view("<u4") & 0xFFFF0000).tobytes(), 4),
}


@pytest.mark.parametrize(("raw", "width"), FLOATS.values(), ids=FLOATS.keys())
@pytest.mark.parametrize("shift", [0, 1, 3, 7])
def test_floats_are_found_wherever_they_begin(raw: bytes, width: int, shift: int) -> None:
    layout = guess_layout(b"?" * shift + raw)
    assert (layout.width, layout.lead_bytes) == (width, shift % width)
    assert layout.share < 0.97


@pytest.mark.parametrize("raw", [bytes(100_000), b"some words, again and again; " * 5000])
def test_what_has_no_layout_is_bytes(raw: bytes) -> None:
    assert guess_layout(raw).width == 1


def test_noise_promises_nothing() -> None:
    layout = guess_layout(np.random.default_rng(6).bytes(1 << 20))
    assert layout.width == 1
    assert layout.share == pytest.approx(1, abs=0.005)


def test_entropy_of_a_small_sample_is_not_underrated() -> None:
    counts = np.bincount(np.random.default_rng(7).integers(0, 256, 2048), minlength=256)
    assert entropy_bits(counts[np.newaxis])[0] == pytest.approx(8, abs=0.02)
    assert list(entropy_bits(np.array([[8, 0], [4, 4], [0, 0]]))) == pytest.approx([0, 1 + 1 / (16 * np.log(2)), 0])


def test_blocks_are_spread_from_end_to_end() -> None:
    assert list(spread_blocks(np.arange(100), 3, 10)) == [*range(10), *range(45, 55), *range(90, 100)]
    assert list(spread_blocks(np.arange(60), 3, 10)) == list(range(60))
