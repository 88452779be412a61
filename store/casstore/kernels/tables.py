"""Tables of frequencies for the coder: which contexts share one, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from casstore.kernels.coder import SCALE_BITS
from casstore.kernels.compiled import DELTAS
from casstore.kernels.words import Plane

Counts = NDArray[np.int64]

MAX_TABLES: Final = 64

_UNIT: Final = 1 << 16
"""Costs are whole numbers, of so many to a bit: floats could be rounded otherwise in NumPy than in compiled loops, and
tables chosen otherwise.
"""
_TABLE_COST: Final = 24 * _UNIT
_SYMBOL_COST: Final = 8 * _UNIT  # of a symbol being in a table: two bytes, most of which zstd saves

_HALF_GRID_BITS: Final = 8
_GRID: Final = 2 << _HALF_GRID_BITS
_DOUBLE_BITS: Final = 52  # of a double's mantissa
_DOUBLE_HALF: Final = 1022  # a double's exponent from a half on
_LOGARITHMS: Final[NDArray[np.float64]] = _UNIT * np.log2(np.maximum(np.arange(_GRID + 2), 1) / _GRID)
"""Of numbers from 0 to 1; lines between them are off by less than 2^-18 from a half on, where they are used."""


@dataclass(frozen=True, slots=True)
class Tables:
    """``frequencies`` has a row for each table; ``table_of`` gives each context's."""

    table_of: Plane
    frequencies: Counts


def tables_for(counts: NDArray[np.uint32]) -> Tables:
    """Tables that code the symbols counted in each context, with neighbours sharing one where that is cheaper.

    What the contexts stand for has an order, so neighbours are alike. There is no table if nothing was counted.
    """
    used = np.flatnonzero(np.bitwise_or.reduce(counts, axis=1))  # twice as quick as any
    if not used.size:
        return Tables(np.zeros(len(counts), np.uint8), np.zeros((0, counts.shape[1]), np.int64))
    rows = counts[used].astype(np.int64)
    rows = np.ascontiguousarray(rows[:, : int(np.flatnonzero(rows.any(axis=0))[-1]) + 1])
    last = np.flatnonzero(merge(rows))
    sums = np.add.reduceat(rows, np.append(0, last[:-1] + 1), axis=0)
    # Contexts that do not occur go with their neighbours, which leaves the least to store.
    table_of = np.minimum(np.searchsorted(used[last], np.arange(len(counts))), last.size - 1)
    return Tables(table_of.astype(np.uint8), scaled(sums))


def scaled(counts: Counts) -> Counts:
    """Each row as frequencies that sum to 2 to the power of `SCALE_BITS`, at least 1 where the count is."""
    totals = counts.sum(axis=1, keepdims=True)
    nearest = ((counts << SCALE_BITS + 1) + totals) // (2 * totals)
    frequencies: Counts = np.maximum(nearest, counts > 0)
    rows = np.arange(len(counts))
    while (left := (1 << SCALE_BITS) - frequencies.sum(axis=1)).any():
        top = frequencies.argmax(axis=1)  # which loses least, and never all
        frequencies[rows, top] += np.maximum(left, -np.maximum(frequencies[rows, top] >> 4, 1))
    return frequencies


def merge(rows: Counts) -> Plane:
    """1 for each row with which a table's group ends: neighbours join, those first that save most by it.

    Goes on while that saves anything, or there are more groups than there may be tables.
    """
    ends = np.zeros(len(rows), np.uint8)
    kernel = DELTAS.find("merge")
    if kernel is not None:
        after, costs, gains = np.zeros((3, len(rows)), np.int64)
        kernel(rows.copy().ravel(), len(rows), _LOGARITHMS, after, costs, gains, np.empty_like(ends), ends)
        return ends
    groups = rows.copy()
    costs = _costs(groups)
    starts = np.arange(len(rows))
    gains = costs[:-1] + costs[1:] - _costs(groups[:-1] + groups[1:])
    while gains.size and (gains.max() > 0 or len(groups) > MAX_TABLES):
        best = int(gains.argmax())
        groups[best] += groups[best + 1]
        groups = np.delete(groups, best + 1, axis=0)
        starts = np.delete(starts, best + 1)
        costs = np.delete(costs, best + 1)
        gains = np.delete(gains, best)
        costs[best] = _costs(groups[best : best + 1])[0]
        for row in range(max(best - 1, 0), min(best + 1, gains.size)):
            gains[row] = costs[row] + costs[row + 1] - _costs(groups[row : row + 1] + groups[row + 1 : row + 2])[0]
    ends[np.append(starts[1:], len(rows)) - 1] = 1
    return ends


def _costs(rows: Counts) -> Counts:
    """Of storing a table for each row, and its symbols with it."""
    costs: Counts = _weighed(rows.sum(axis=1)) - _weighed(rows).sum(axis=1)
    costs += _SYMBOL_COST * np.count_nonzero(rows, axis=1) + _TABLE_COST
    return costs


def _weighed(counts: Counts) -> Counts:
    """Each count times its binary logarithm."""
    fractions, exponents = np.frexp(np.maximum(counts, 1).astype(np.float64))
    places = fractions * _GRID
    index = places.astype(np.int64)
    logarithms = _LOGARITHMS[index] + (places - index) * (_LOGARITHMS[index + 1] - _LOGARITHMS[index])
    return counts * (exponents.astype(np.int64) * _UNIT + np.floor(logarithms).astype(np.int64))


def _merge_loop(  # noqa: C901 (one function is what compiles, and what its cache can tell from another)
    flat: Counts, count: int, logarithms: NDArray[np.float64], after: Counts, costs: Counts, gains: Counts,
    is_new: Plane, ends: Plane,
) -> None:  # fmt: skip
    size = flat.size // count

    def weighed(number: Any) -> Any:
        bits: Any = np.float64(max(number, 1)).view(np.int64)
        exponent = (bits >> _DOUBLE_BITS) - _DOUBLE_HALF
        place = bits & ((1 << _DOUBLE_BITS) - 1)  # from a half on
        index = _GRID // 2 + (place >> _DOUBLE_BITS - _HALF_GRID_BITS)
        beyond = (place & ((1 << _DOUBLE_BITS - _HALF_GRID_BITS) - 1)) / (1 << _DOUBLE_BITS - _HALF_GRID_BITS)
        logarithm = logarithms[index] + beyond * (logarithms[index + 1] - logarithms[index])
        return number * (exponent * _UNIT + np.int64(np.floor(logarithm)))

    def cost(first: Any, second: Any) -> Any:
        """Of two rows together, or of one if they are the same."""
        total = _TABLE_COST
        weight = 0
        for symbol in range(size):
            number = flat[first * size + symbol] + (flat[second * size + symbol] if second != first else 0)
            if number:
                weight += number
                total += _SYMBOL_COST - weighed(number)
        return total + weighed(weight)

    # A group lives in its first row; `after` has the row with which the next begins. Of a new one, the cost is not
    # known, nor what joining it with a neighbour gains.
    row: Any
    best: Any
    for row in range(count):
        after[row], is_new[row] = row + 1, 1
    for left in range(count, 0, -1):
        row = best = np.int64(0)
        while row < count:
            if is_new[row]:
                costs[row] = cost(row, row)
            row = after[row]
        row = np.int64(0)
        while after[row] < count:
            if is_new[row] or is_new[after[row]]:
                gains[row] = costs[row] + costs[after[row]] - cost(row, after[row])
            best = row if gains[row] > gains[best] else best
            row = after[row]
        if left == 1 or (gains[best] <= 0 and left <= MAX_TABLES):
            break
        for symbol in range(size):
            flat[best * size + symbol] += flat[after[best] * size + symbol]
        after[best] = after[after[best]]
        for other in range(count):
            is_new[other] = other == best
    row = np.int64(0)
    while row < count:
        row = after[row]
        ends[row - 1] = 1


DELTAS.add(
    "merge", _merge_loop, "int64[]", "int64", "const float64[]", "int64[]", "int64[]", "int64[]", "uint8[]", "uint8[]"
)
