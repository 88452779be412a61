"""Which stored chunks a new one is like: a small sample of each, kept in the index, tells.

Chunks of one similarity key (the tensor's name, shape and place in it, whatever its type) are candidates. For each, the
bits per element that a delta would take are estimated from the sampled words, cast where the types differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from casstore.buffers import Buffer
from casstore.casts import Cast, apply_cast, casts_between
from casstore.index.rows import Candidate
from casstore.kernels import WORD_TYPES, Words

_SAMPLES: Final = 8
"""Words in a sketch: 32 bytes of a float32 chunk."""

_WORTH_IT: Final = {1: 0.5, 2: 0.45, 4: 0.65, 8: 0.7}
"""By bytes per element: a delta is tried where this share of the bits, or less, is to be expected. A chunk stored whole
takes 0.66 (bfloat16) to 0.85 (float16), and reading it takes no base."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A base to try, and the cast that makes its words the chunk's.

    With ``must_be_exact`` it is itself a delta, so nothing but its very cast may be stored against it: a delta's base
    is stored whole.
    """

    digest: bytes
    cast: Cast
    must_be_exact: bool
    stored_share: float = 0.0
    """What is left of the base, if it has the chunk's type; 0 where that is not known."""


def sketch(raw: Buffer, width: int) -> bytes:
    """Words of the chunk at fixed places, evenly spread; empty where there are too few or of no known width."""
    if width not in WORD_TYPES or len(raw) < _SAMPLES * width:
        return b""
    words = np.frombuffer(raw, WORD_TYPES[width], count=len(raw) // width)
    places = (2 * np.arange(_SAMPLES) + 1) * words.size // (2 * _SAMPLES)
    return words[places].tobytes()


def item_width(sketched: bytes) -> int:
    """Bytes per element of the chunk of a sketch."""
    return len(sketched) // _SAMPLES


def choices(mine: bytes, raw_length: int, candidates: Iterable[Candidate]) -> list[Choice]:
    """What to try for the chunk of a sketch and a length in bytes, at most two.

    First a delta whose sample is cast to the chunk's exactly, then the whole chunk that promises the smallest delta;
    nothing where nothing promises to pay. Of equals the first is taken.
    """
    if not mine:
        return []
    width = item_width(mine)
    words = ordered(np.frombuffer(mine, WORD_TYPES[width]))
    promising_bits = 8 * width * _WORTH_IT[width]
    exact, best, best_bits = None, None, promising_bits
    for candidate in candidates:
        their_width = item_width(candidate.sketch)
        if len(candidate.sketch) != their_width * _SAMPLES or candidate.raw_length * width != raw_length * their_width:
            continue
        for cast in casts_between(their_width, width):
            theirs = apply_cast(cast, candidate.sketch) if cast else np.frombuffer(candidate.sketch, WORD_TYPES[width])
            bits = _expected_bits(words, ordered(theirs), width)
            if candidate.is_whole and bits < best_bits:
                share = 0.0 if cast else candidate.stored_length / candidate.raw_length
                best, best_bits = Choice(candidate.digest, cast, must_be_exact=False, stored_share=share), bits
            elif not candidate.is_whole and not bits and exact is None:
                exact = Choice(candidate.digest, cast, must_be_exact=True)
            if not cast and bits < promising_bits:
                break  # they are of one type
    return [choice for choice in (exact, best) if choice is not None]


def _expected_bits(words: Sequence[int], theirs: Sequence[int], width: int) -> float:
    """About what each element of the difference takes: the length of its magnitude, and its sign where it has one."""
    half = 1 << 8 * width - 1
    bits = 0.0
    for word, their in zip(words, theirs, strict=True):  # so few that NumPy would take five times as long
        bits += math.log2(1 + 2 * abs((word - their + half) % (2 * half) - half))
    return bits / len(words)


def ordered(words: Words) -> list[int]:
    """The words of floats mapped to integers of the same order, one to one: negative ones have all bits turned."""
    half = 1 << 8 * words.itemsize - 1
    return [2 * half - 1 - word if word >= half else word + half for word in words.tolist()]
