"""Ranges of a file that hold tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from casmodels.formats import StoredTensor

_ALIGNMENT_BYTES: Final = 16


@dataclass(slots=True)
class Range:
    """Bytes ``start`` to ``stop`` of a file, and the tensors that lie there."""

    start: int
    stop: int
    tensors: list[StoredTensor]


def ranges_of(tensors: Iterable[StoredTensor]) -> list[Range]:
    """The bytes that tensors need; those that share some lie in one range.

    Each begins at a multiple of 16 bytes of its storage, so that all types are as well aligned as in the storage.
    """
    ranges: list[Range] = []
    for tensor in sorted(tensors, key=lambda tensor: (tensor.storage_at, *tensor.extent)):
        low, high = tensor.extent
        start, stop = tensor.storage_at + low - low % _ALIGNMENT_BYTES, tensor.storage_at + high
        if ranges and start < ranges[-1].stop and ranges[-1].tensors[0].storage_at == tensor.storage_at:
            ranges[-1].stop = max(ranges[-1].stop, stop)
            ranges[-1].tensors.append(tensor)
        else:
            ranges.append(Range(start, stop, [tensor]))
    return ranges
