"""Learning, from two chunks of float32, what decay lies between them. No schedule of rates is asked for: it shows.

Where the decay is slight, it takes a few units in the last place off a weight: the mantissas at which that number
changes are found exactly. Where it is not, the number rises with the mantissa nearly in a straight line; the weights
that were trained in between lie all about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from casstore.codecs.delta.payload import LESS_LIMIT, MAX_PIECES
from casstore.codecs.delta.samples import sample_runs
from casstore.kernels import Words
from casstore.kernels.decays import MANTISSA_BITS, MANTISSA_MASK, Decay, near
from casstore.kernels.differences import BLOCK_WORDS

_FIRST_RUNS: Final = 16
_MORE_RUNS: Final = 384

_SMALL: Final = LESS_LIMIT // 2
_FEWEST_SMALL: Final = 512
"""So many words of the first sample must have lost less than `_SMALL`, or it shows nothing."""

_BUCKETS: Final = 16
_BUCKET_BITS: Final = MANTISSA_BITS - 4
_ALIKE: Final = 0.1
"""Such a share of the words must have lost what is commonest in their bucket, or losses are not in steps."""

_IMPLICIT_ONE: Final = 1 << MANTISSA_BITS
_LOSS_ZERO: Final = 1 << 31  # where in a key's lower half a loss of zero lies
_LOSS_MASK: Final = (1 << 32) - 1

_DENSE_PART: Final = 8
_CLEARLY_DENSER: Final = 4
"""In a bell curve, the densest eighth of all is a fifteenth as wide as the middle seven; if some lie on a line, it is
so many times narrower than that. If all do, the middle is so many times narrower than it is far from zero.
"""
_FASTEST: Final = 0.25
_MOST_MUCH: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Learnt:
    """A decay, or none, and from how many units on a word is far from what it makes of the base."""

    decay: Decay | None
    much: int


_NOTHING: Final = Learnt(None, 1)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Words that lost little, by their base's mantissas, and how much: in units in the last place."""

    mantissas: NDArray[np.int64]
    losses: NDArray[np.int64]
    is_normal: NDArray[np.bool_]

    @property
    def buckets(self) -> NDArray[np.int64]:
        return self.mantissas >> _BUCKET_BITS


def learn_decay(words: Words, base: Words) -> Learnt:
    """What a sample of the words says of how they came from the base's; both float32."""
    first = _look(sample_runs(words, _FIRST_RUNS), sample_runs(base, _FIRST_RUNS))
    if first.losses.size < _FEWEST_SMALL:
        return _NOTHING
    commonest, times = _commonest(first)
    if times.sum() >= _ALIKE * min(words.size, _FIRST_RUNS * BLOCK_WORDS):
        if not commonest.any():
            return _NOTHING
        decay = _learn_steps(words, base, commonest)
        if decay is not None:
            return Learnt(decay, 1)
    return _learn_line(first)


def _look(words: Words, base: Words) -> _Sample:
    losses = base.view(np.int32).astype(np.int64) - words.view(np.int32)  # off the magnitude, where signs agree
    small = np.abs(losses) < _SMALL
    base = base[small]
    exponents = base >> np.uint32(MANTISSA_BITS) & np.uint32(255)
    mantissas = (base & np.uint32(MANTISSA_MASK)).astype(np.int64)
    return _Sample(mantissas, losses[small], (exponents > 0) & (exponents < 255))


def _commonest(sample: _Sample) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The commonest loss in each bucket, and how often it is there."""
    keys, times = np.unique(sample.buckets << 32 | (sample.losses + _LOSS_ZERO), return_counts=True)
    order = np.argsort(times, kind="stable")
    keys, times = keys[order], times[order]
    commonest, most = np.zeros((2, _BUCKETS), np.int64)
    commonest[keys >> 32] = (keys & _LOSS_MASK) - _LOSS_ZERO  # the last one to be assigned stays
    most[keys >> 32] = times
    return commonest, most


def _learn_steps(words: Words, base: Words, commonest: NDArray[np.int64]) -> Decay | None:
    """The mantissas at which the loss changes; None if there are too many."""
    beside = np.stack([np.append(commonest[0], commonest[:-1]), commonest, np.append(commonest[1:], commonest[-1])])
    low, high = beside.min(axis=0) - 1, beside.max(axis=0) + 1
    changing = high - low > 2
    keys = near(sample_runs(words, _MORE_RUNS), sample_runs(base, _MORE_RUNS), low, high, changing, BLOCK_WORDS)
    still = np.flatnonzero(~changing)  # two keys stand for each bucket in which the loss is the same throughout
    still = np.repeat(still << 32 + _BUCKET_BITS | (commonest[still] + _LOSS_ZERO), 2)
    keys = np.sort(np.concatenate([keys, still]))
    if not keys.size:
        return None
    losses = (keys & _LOSS_MASK) - _LOSS_ZERO
    same = losses[1:] == losses[:-1]
    kept = np.append(same, False) | np.append(False, same)  # one alone was trained, or is an accident
    mantissas, losses = keys[kept] >> 32, losses[kept]
    changes = np.flatnonzero(np.diff(losses))
    if not mantissas.size or changes.size >= MAX_PIECES:
        return None
    starts = np.append(0, (mantissas[changes] + mantissas[changes + 1] + 1) // 2)
    less = np.append(losses[:1], losses[changes + 1])
    last_there = np.append(np.diff(starts) > 0, True)
    less = less[last_there].astype(np.int32)
    return Decay(starts[last_there].astype(np.uint32), less, np.zeros_like(less))


def _learn_line(sample: _Sample) -> Learnt:
    """The decay as straight lines, a piece for each bucket, if many of the words lie near one line."""
    losses, mantissas = sample.losses[sample.is_normal], sample.mantissas[sample.is_normal]
    if losses.size < _FEWEST_SMALL:
        return _NOTHING
    rates = np.sort(losses / (mantissas + _IMPLICIT_ONE))
    part = rates.size // _DENSE_PART
    widths = rates[part:] - rates[:-part]
    densest = int(widths.argmin())
    width = float(widths[densest])
    middle = rates[rates.size * 15 // 16] - rates[rates.size // 16]
    rate = float(rates[densest + part // 2])
    is_dense = width * 15 * _CLEARLY_DENSER <= middle or middle * _CLEARLY_DENSER <= abs(rate)
    if not is_dense or not width > 0 or not 0 < abs(rate) < _FASTEST:
        return _NOTHING
    off = losses - rate * (mantissas + _IMPLICIT_ONE)
    close = np.abs(off) <= 9 * width / 2 * _IMPLICIT_ONE
    knots = np.arange(_BUCKETS + 1) << _BUCKET_BITS
    values = _middles(off[close], mantissas[close], knots) + rate * (knots + _IMPLICIT_ONE)
    slopes = np.diff(values) * 2.0 ** (32 - _BUCKET_BITS)
    if np.abs(values).max() >= _SMALL or np.abs(slopes).max() >= _LOSS_ZERO - 1:
        return _NOTHING
    decay = Decay(knots[:-1].astype(np.uint32), np.round(values[:-1]).astype(np.int32), slopes.astype(np.int32))
    much = 4 * float(np.median(np.abs(off[close]))) if close.any() else 1.0
    return Learnt(decay, int(min(max(much, 1), _MOST_MUCH)))


def _middles(off: NDArray[np.float64], mantissas: NDArray[np.int64], knots: NDArray[np.int64]) -> NDArray[np.float64]:
    """The median of what is in each bucket, as a line through the buckets' middles, at the knots."""
    order = np.argsort(mantissas >> _BUCKET_BITS, kind="stable")
    bounds = np.searchsorted((mantissas >> _BUCKET_BITS)[order], np.arange(_BUCKETS + 1))
    groups = [off[order[start:stop]] for start, stop in pairwise(bounds)]
    medians = [float(np.median(group)) if group.size else 0.0 for group in groups]
    between: NDArray[np.float64] = np.interp(knots, knots[:-1] + (1 << _BUCKET_BITS - 1), medians)
    return between
