"""Whatever two chunks hold, a delta gives back the one; whatever is stored, decoding it ends well or as damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from casstore.codecs import delta
from casstore.errors import DamagedError
from casstore.kernels import WORD_TYPES, Words
from casstore.kernels.compiled import DELTAS

Pair = tuple[Words, Words]

SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45, 5e-324, 6e-8, 65504.0, 1e-38]
sizes = st.integers(0, 300) | st.sampled_from((1023, 1024, 4096, 8191, 20_000))


@st.composite
def any_words(draw: st.DrawFn) -> Pair:
    """Words of any width, small or patterned, and others."""
    dtype = WORD_TYPES[draw(st.sampled_from((1, 2, 4, 8)))]
    count = draw(st.integers(0, 300))
    elements = arrays.from_dtype(dtype)
    return draw(arrays.arrays(dtype, count, elements=elements)), draw(arrays.arrays(dtype, count, elements=elements))


@st.composite
def moved_floats(draw: st.DrawFn) -> Pair:
    """Floats of any width that were trained: some moved, some decayed, odd ones among them."""
    kind = np.dtype(draw(st.sampled_from(("<f2", "<f4", "<f8"))))
    dtype = WORD_TYPES[kind.itemsize]
    random = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    base = (draw(st.sampled_from((1e-40, 0.02, 1e4))) * random.standard_normal(draw(sizes))).astype(kind)
    odd = random.random(base.size) < draw(st.sampled_from((0, 0.01, 0.5)))
    with np.errstate(all="ignore"):
        base[odd] = random.choice(np.array(SPECIAL).astype(kind), int(odd.sum()))
        words = base.copy()
        for _ in range(draw(st.integers(0, 40))):
            words *= kind.type(1 - draw(st.sampled_from((0.0, 2e-7, 1e-5))))
        moved = random.random(base.size) < draw(st.sampled_from((0, 0.001, 0.1, 1)))
        step = draw(st.sampled_from((1e-7, 1e-3, 1.0)))
        words[moved] += (step * random.standard_normal(int(moved.sum()))).astype(kind)
    return words.view(dtype), base.view(dtype)


pairs = any_words() | moved_floats()
shifts = st.none() | st.integers(0, 7)


def both_engines_agree(words: Words, expected: Words, shift: int | None) -> None:
    payloads = []
    for pays_after_bytes in (0, 1 << 62):  # Numba, NumPy
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DELTAS, "pays_after_bytes", pays_after_bytes)
            payloads.append(delta.encode(words, expected, shift))
            assert bytes(delta.decode(payloads[0], expected)) == words.tobytes()
    assert payloads[0] == payloads[1]


@given(pairs, shifts)
@settings(max_examples=300)
def test_both_engines_give_the_same_payload_and_read_it(pair: Pair, shift: int | None) -> None:
    both_engines_agree(*pair, shift)


@given(pairs, st.data())
@settings(max_examples=300)
def test_whatever_is_stored_decodes_to_that_length_or_is_damage(pair: Pair, data: st.DataObject) -> None:
    words, expected = pair
    stored = bytearray(delta.encode(words, expected))
    for position in data.draw(st.lists(st.integers(0, len(stored) - 1), max_size=4)):
        stored[position] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(stored))) if data.draw(st.booleans()) else len(stored)
    outcomes = []
    for pays_after_bytes in (0, 1 << 62):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DELTAS, "pays_after_bytes", pays_after_bytes)
            try:
                outcomes.append(bytes(delta.decode(bytes(stored[:end]), expected)))
            except DamagedError:
                outcomes.append(b"damage")
    assert outcomes[0] == outcomes[1]
    assert outcomes[0] == b"damage" or len(outcomes[0]) == words.nbytes


@given(st.binary(max_size=400), st.sampled_from((1, 2, 4, 8)), st.integers(0, 300))
@settings(max_examples=200)
def test_garbage_is_damage(stored: bytes, width: int, count: int) -> None:
    with pytest.raises(DamagedError):
        delta.decode(stored, np.zeros(count, WORD_TYPES[width]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_histories_of_float32(seed: int) -> None:
    """Decay and training of every strength: what is learnt of them must never break a delta."""
    random = np.random.default_rng(seed)
    for _ in range(150):
        count = int(random.choice([1024, 1500, 4096, 8191, 20_000]))
        base = (10.0 ** random.integers(-40, 5) * random.standard_normal(count)).astype("<f4")
        words = base.copy()
        with np.errstate(all="ignore"):
            for _ in range(int(random.integers(0, 30))):
                words *= np.float32(1 - 10.0 ** -random.integers(3, 8))
            trained = random.random(count) < random.choice([0, 0.01, 0.3, 0.6, 0.85, 0.95])
            step = 10.0 ** random.integers(-9, 1)
            words[trained] += (step * random.standard_normal(int(trained.sum()))).astype("<f4")
        words = np.where(random.random(count) < random.choice([0, 0, 0.5]), base, words)
        both_engines_agree(words.view("<u4"), base.view("<u4"), None)
