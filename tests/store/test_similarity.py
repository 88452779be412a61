"""Sketches: what is alike is found, whatever its type, and what is not is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from casstore.casts import Cast, apply_cast
from casstore.index.rows import Candidate
from casstore.similarity import Choice, choices, item_width, ordered, sketch

Words = Any
RANDOM = np.random.default_rng(5)
BASE = RANDOM.normal(0, 0.05, 5000).astype("<f4")
NEAR = (BASE + RANDOM.normal(0, 1e-6, 5000)).astype("<f4")
FAR = (BASE + RANDOM.normal(0, 1e-4, 5000)).astype("<f4")
OTHER = RANDOM.normal(0, 0.05, 5000).astype("<f4")


def candidate(name: str, words: Words, *, is_whole: bool = True) -> Candidate:
    return Candidate(name.encode(), words.nbytes, words.nbytes // 2, sketch(words.tobytes(), words.itemsize), is_whole)


def chosen(words: Words, *candidates: Candidate) -> list[tuple[str, Cast, bool]]:
    found = choices(sketch(words.tobytes(), words.itemsize), words.nbytes, candidates)
    assert all(isinstance(choice, Choice) for choice in found)
    return [(choice.digest.decode(), choice.cast, choice.must_be_exact) for choice in found]


def test_the_nearest_is_chosen() -> None:
    assert chosen(BASE, candidate("other", OTHER), candidate("far", FAR), candidate("near", NEAR)) == [
        ("near", Cast.NONE, False)
    ]
    assert chosen(BASE, candidate("other", OTHER)) == []
    assert chosen(BASE) == []


def test_across_types() -> None:
    bfloat16 = apply_cast(Cast.FLOAT32_TO_BFLOAT16, BASE.tobytes())
    float16 = apply_cast(Cast.FLOAT32_TO_FLOAT16, BASE.tobytes())
    whole = candidate("base", BASE)
    assert chosen(bfloat16, candidate("other", OTHER), whole) == [("base", Cast.FLOAT32_TO_BFLOAT16, False)]
    assert chosen(float16, whole) == [("base", Cast.FLOAT32_TO_FLOAT16, False)]
    assert chosen(BASE, candidate("small", bfloat16)) == [("small", Cast.BFLOAT16_TO_FLOAT32, False)]
    assert chosen(float16, candidate("small", bfloat16)) == [("small", Cast.BFLOAT16_TO_FLOAT16, False)]


def test_a_delta_serves_for_its_exact_cast_only_and_is_tried_first() -> None:
    bfloat16 = apply_cast(Cast.FLOAT32_TO_BFLOAT16, NEAR.tobytes())
    base, delta = candidate("base", BASE), candidate("near", NEAR, is_whole=False)
    assert chosen(bfloat16, base, delta) == [
        ("near", Cast.FLOAT32_TO_BFLOAT16, True),
        ("base", Cast.FLOAT32_TO_BFLOAT16, False),
    ]
    assert chosen(FAR, delta) == []


def test_chunks_of_another_length_are_no_candidates() -> None:
    longer = np.concatenate([BASE, BASE])
    assert chosen(BASE, candidate("longer", longer)) == []
    assert chosen(BASE, Candidate(b"x", BASE.nbytes, 100, b"", is_whole=True)) == []
    assert chosen(BASE, Candidate(b"x", BASE.nbytes, 100, b"odd", is_whole=True)) == []


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_sketch_is_eight_words(width: int) -> None:
    data = bytes(range(256)) * 8
    taken = sketch(data, width)
    assert len(taken) == 8 * width
    assert item_width(taken) == width
    assert taken == sketch(data + bytes(width - 1), width), "what is no whole word does not count"
    assert sketch(data[: 8 * width - 1], width) == b""
    assert sketch(data, 16) == sketch(data, 0) == b""


def test_what_is_left_of_the_base_is_told_where_it_has_the_same_type() -> None:
    (choice,) = choices(sketch(BASE.tobytes(), 4), BASE.nbytes, [candidate("near", NEAR)])
    assert choice.stored_share == 0.5
    bfloat16 = apply_cast(Cast.FLOAT32_TO_BFLOAT16, BASE.tobytes())
    (choice,) = choices(sketch(bfloat16.tobytes(), 2), bfloat16.nbytes, [candidate("near", NEAR)])
    assert choice.stored_share == 0


def test_ordered_is_a_bijection_that_rises_with_the_number() -> None:
    every = np.arange(1 << 16, dtype="<u2")
    mapped = np.array(ordered(every))
    assert np.array_equal(np.sort(mapped), every)
    numbers = every.view("<f2").astype(float)
    finite = np.isfinite(numbers)
    by_order = numbers[finite][np.argsort(mapped[finite], kind="stable")]
    assert (np.diff(by_order) >= 0).all()
