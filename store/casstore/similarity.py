"""Which stored chunk a new one is most like: a small sample of each, kept in the index, tells.

Chunks of one similarity key (the tensor's name, shape and place in it, whatever its type) are candidates. For each, the
bits per element that a delta would take are estimated from the sampled words, cast where the types differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from casstore.buffers import Buffer
from casstore.casts import Cast, apply_cast, casts_between
from casstore.index.rows import Candidate
from casstore.kernels import WORD_TYPES, Words

_SAMPLES: Final = 8
"""Words in a sketch: 32 bytes of a float32 chunk."""

_WORTH_IT: Final = {1: 0.5, 2: 0.45, 4: 0.55, 8: 0.6}
"""By bytes per element: a delta is tried where this share of the bits, or less, is to be expected. A chunk stored whole
takes 0.66 (bfloat16) to 0.85 (float16), and reading it takes no base."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A base for a chunk, the cast that makes its words the chunk's, and the bits per element to be expected."""

    digest: bytes
    cast: Cast
    bits: float


def sketch(raw: Buffer, width: int) -> bytes:
    """Words of the chunk at fixed places, evenly spread; empty where there are too few or of no known width."""
    if width not in WORD_TYPES or len(raw) < _SAMPLES * width:
        return b""
    words = np.frombuffer(raw, WORD_TYPES[width], count=len(raw) // width)
    places = (2 * np.arange(_SAMPLES) + 1) * words.size // (2 * _SAMPLES)
    return words[places].tobytes()


def choose(raw: Buffer, width: int, candidates: Iterable[Candidate]) -> Choice | None:
    """The candidate, and the cast of it, that promises the smallest delta; None where none promises to pay.

    Of equals the first is taken.
    """
    mine = sketch(raw, width)
    if not mine:
        return None
    words = np.frombuffer(mine, WORD_TYPES[width])
    best = None
    for candidate in candidates:
        their_width, rest = divmod(len(candidate.sketch), _SAMPLES)
        if rest or not their_width or candidate.raw_length * width != len(raw) * their_width:
            continue
        for cast in casts_between(their_width, width):
            theirs = apply_cast(cast, candidate.sketch) if cast else np.frombuffer(candidate.sketch, words.dtype)
            bits = _expected_bits(words, theirs)
            if best is None or bits < best.bits:
                best = Choice(candidate.digest, cast, bits)
    return best if best is not None and best.bits <= 8 * width * _WORTH_IT[width] else None


def _expected_bits(words: Words, theirs: Words) -> float:
    """About what each element of the difference takes: the length of its magnitude, and its sign where it has one."""
    difference = ordered(words) - ordered(theirs)
    signed = difference.view(difference.dtype.str.replace("u", "i"))
    magnitudes = np.abs(signed.astype(np.float64))
    return float(np.log2(1 + 2 * magnitudes).mean())


def ordered(words: Words) -> Words:
    """The words of floats mapped to integers of the same order, one to one: negative ones have all bits turned."""
    top = words.dtype.type(8 * words.itemsize - 1)
    signs = (words >> top).astype(bool)
    return np.where(signs, ~words, words | words.dtype.type(1 << int(top))).astype(words.dtype)
