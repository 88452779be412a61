"""By how much two tensors differ, found a block at a time; chunks that both share are not decoded to be compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from casmodels.formats import StoredTensor
from casmodels.library.arrays import numpy_array
from casmodels.library.damage import damage_named
from casmodels.library.floats import is_widened, widened
from casmodels.library.ranges import ranges_of
from casmodels.results.diffs import Change
from casstore.blobs import BlobReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK_ELEMENTS: Final = 1 << 19  # as chunks are cut, so that a block is a chunk


@dataclass(frozen=True, slots=True)
class Located:
    """A tensor of a file; ``version`` is what messages call its version."""

    path: str
    version: str
    blob: BlobReader
    tensor: StoredTensor

    def pieces(self, first: int, last: int) -> object:
        """What elements ``first`` to ``last`` are made of: equal for two of one type only if these are equal."""
        low, high = self._bounds(first, last)
        layout = None if self.tensor.is_dense else (self.tensor.shape, self.tensor.stride)
        return layout, self.blob.pieces(low, high)

    def numbers(self, first: int, last: int) -> bytes:
        """Elements ``first`` to ``last`` of a dense tensor. Raises DamagedError."""
        low, high = self._bounds(first, last)
        with damage_named(self.path, self.version):
            return self.blob.read_at(low, high - low)

    def whole(self) -> bytes:
        """All elements, rows first, of a tensor that is not dense. Raises DamagedError."""
        (extent,) = ranges_of([self.tensor])
        memory = np.empty(extent.stop - extent.start, np.uint8)
        with damage_named(self.path, self.version):
            self.blob.fill([(extent.start, memory.data)])
        return numpy_array(memory, self.tensor, extent.start).tobytes()

    def _bounds(self, first: int, last: int) -> tuple[int, int]:
        low, high = self.tensor.extent
        if not self.tensor.is_dense:
            return self.tensor.storage_at + low, self.tensor.storage_at + high
        bits = self.tensor.item_bits
        begin = self.tensor.storage_at + low
        return begin + first * bits // 8, begin + last * bits // 8


def difference(before: Located, after: Located) -> Change | None:
    """By how much two tensors of one shape differ; None where no bit does, or where no value does across types.

    Raises DamagedError.
    """
    elements, tensor = before.tensor.elements, before.tensor
    same_type = tensor.dtype == after.tensor.dtype
    if not elements or (same_type and before.pieces(0, elements) == after.pieces(0, elements)):
        return None
    if not is_widened(tensor.dtype) or not is_widened(after.tensor.dtype):
        return None if same_type and _bytes(before) == _bytes(after) else Change(elements)
    tally = _Tally()
    for old, new in _blocks(before, after, same_type=same_type):
        tally.add(old, new, tensor.dtype, after.tensor.dtype)
    return tally.change(elements) if tally.differing else None


def _bytes(located: Located) -> bytes:
    return located.numbers(0, located.tensor.elements) if located.tensor.is_dense else located.whole()


def _blocks(before: Located, after: Located, *, same_type: bool) -> Iterator[tuple[bytes, bytes | None]]:
    """The numbers of both, block by block; None for those of the second that are equal."""
    if not before.tensor.is_dense or not after.tensor.is_dense:
        yield _bytes(before), _bytes(after)
        return
    for first in range(0, before.tensor.elements, _BLOCK_ELEMENTS):
        last = min(first + _BLOCK_ELEMENTS, before.tensor.elements)
        if same_type and before.pieces(first, last) == after.pieces(first, last):
            yield before.numbers(first, last), None  # its size is part of the norm
        else:
            yield before.numbers(first, last), after.numbers(first, last)


@dataclass(slots=True)
class _Tally:
    differing: int = 0
    not_finite: int = 0
    largest: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    squares_before: float = 0.0

    def add(self, old: bytes, new: bytes | None, old_type: str, new_type: str) -> None:
        """Take in a block."""
        with np.errstate(all="ignore"):
            before = widened(old, old_type)
            self.squares_before += _squares(before[np.isfinite(before)])
            if new is None:
                return
            after = widened(new, new_type)
            if old_type == new_type:
                differ = _differing_bits(old, new, before.size)
            else:
                differ = (before != after) & ~(np.isnan(before) & np.isnan(after))
            gaps = np.abs(after[differ] - before[differ])
            finite = gaps[np.isfinite(gaps)]
            self.differing += gaps.size
            self.not_finite += gaps.size - finite.size
            self.largest = max(self.largest, float(finite.max(initial=0.0)))
            self.total += float(finite.sum())
            self.squares += _squares(finite)

    def change(self, elements: int) -> Change:
        """What was found."""
        relative = sqrt(self.squares / self.squares_before) if self.squares_before else None
        return Change(
            elements,
            self.differing,
            self.differing / elements,
            self.largest,
            _finite(self.total / elements),
            _finite(relative),
            self.not_finite,
        )


def _squares(values: NDArray[Any]) -> float:
    return float(np.vdot(values, values).real)


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _differing_bits(old: bytes, new: bytes, elements: int) -> NDArray[np.bool_]:
    width = len(old) // elements
    words = np.dtype(f"<u{min(width, 8)}")
    differ: NDArray[np.bool_] = np.frombuffer(old, words) != np.frombuffer(new, words)
    return differ if width <= 8 else np.any(differ.reshape(elements, -1), axis=1)
