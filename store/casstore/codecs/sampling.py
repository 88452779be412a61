"""A look at a little of a chunk, to learn what is worth doing with all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from casstore.buffers import Buffer

_WIDEST: Final = 8
_BLOCKS: Final = 4
_BLOCK_WORDS: Final = 512  # of the widest words

_IDLE_BITS: Final = 0.05
"""A position in the word with less entropy than this holds no exponent: it is a byte that is always zero."""

_CLEARER: Final = 0.985
"""A wider word must promise under this share of what a narrower one does, or it is not believed."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A guess at what bytes are: words of ``width`` bytes, the first of them ``lead_bytes`` from the start.

    ``share`` is what would be left of them if each plane of the words were entropy-coded, from 0 to 1.
    """

    width: int
    lead_bytes: int
    share: float


def guess_layout(raw: Buffer) -> Layout:
    """The layout under which samples of some KiB look most orderly: floats show by their exponents."""
    whole = np.frombuffer(raw, np.uint8, count=len(raw) - len(raw) % _WIDEST)
    sample = spread_blocks(whole.reshape(-1, _WIDEST), _BLOCKS, _BLOCK_WORDS)
    cells = sample + 256 * np.arange(_WIDEST)  # one histogram for each position in the widest word
    counts = np.bincount(cells.ravel(), minlength=256 * _WIDEST)
    widths = (1, 2, 4, 8)
    every = entropy_bits(np.concatenate([counts.reshape(-1, width, 256).sum(axis=0) for width in widths]))
    found, bits = 0, every
    for width in widths:
        wider = every[width - 1 : 2 * width - 1]  # one, two and four rows come before those of two, four and eight
        if not found or wider.mean() < bits.mean() * _CLEARER:
            found, bits = width, wider
    top = int(np.argmin(np.where(bits > _IDLE_BITS, bits, 9.0)))
    return Layout(found, (top + 1) % found, float(bits.mean()) / 8)


def entropy_bits(counts: NDArray[np.intp]) -> NDArray[np.float64]:
    """The entropy in bits of each histogram in the last axis, corrected for its being a sample.

    The correction is Miller and Madow's (1955): half a nat for each value seen but one, over the sample's size.
    """
    totals = np.maximum(counts.sum(axis=-1), 1)
    plain = np.log2(totals) - (counts * np.log2(np.maximum(counts, 1))).sum(axis=-1) / totals
    unbiased: NDArray[np.float64] = plain + np.maximum((counts > 0).sum(axis=-1) - 1, 0) / (2 * np.log(2) * totals)
    return unbiased


def spread_blocks(data: NDArray[Any], blocks: int, block_items: int) -> NDArray[Any]:
    """Some blocks spread evenly over the first axis, or all of it where it is not much longer than they
    are.
    """
    if len(data) <= 2 * blocks * block_items:
        return data
    stride = (len(data) - block_items) // (blocks - 1)
    return np.concatenate([data[start : start + block_items] for start in range(0, stride * blocks, stride)])
