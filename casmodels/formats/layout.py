"""What the readers of file formats share: element types, similarity keys, the last check of every span."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from blake3 import blake3

from casstore.chunkers.spans import OPAQUE_WIDTH, Span

KEY_BYTES: Final = 8
MAX_TENSORS: Final = 200_000
"""More than any known file has; it bounds memory at some 100 MB whatever a header claims."""
MAX_DIMENSIONS: Final = 64


class DoubtError(Exception):
    """A file does not hold what it claims, or claims what is not understood: it is opaque bytes."""


BAD_BYTES: Final = (
    DoubtError,
    ValueError,
    LookupError,
    ArithmeticError,
    TypeError,
    RuntimeError,
    EOFError,
    struct.error,
)
"""What readers raise for bytes that are not what they seem; an OSError says that the file cannot be read."""


@dataclass(frozen=True, slots=True)
class ElementType:
    """How a tensor's elements lie: bits per element, bytes per number in it (0: less than one), smallest cut.

    A complex number is two floats, so its ``item_width`` is that of one of them and its ``block_bytes`` both.
    """

    bits: int
    item_width: int
    block_bytes: int

    def length_bytes(self, shape: Iterable[int]) -> int:
        """The bytes of a tensor of that shape; raises DoubtError where they are no whole number."""
        bits = self.bits
        for dimension in shape:
            bits *= dimension
        if bits % 8:
            raise DoubtError("a tensor that ends within a byte")
        return bits // 8


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file: bytes ``storage_at`` to ``storage_at + storage_bytes`` of it hold the numbers.

    ``dtype`` is what safetensors calls the type (``C128`` and ``C32`` are torch's alone); ``offset`` and ``stride``
    count elements within the storage, and without a stride it is dense with its rows first. Where there is a
    ``problem``, that is why it cannot be read.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    storage_at: int
    storage_bytes: int
    item_bits: int
    offset: int = 0
    stride: tuple[int, ...] | None = None
    problem: str = ""

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def length(self) -> int:
        """Its numbers' bytes, put end to end."""
        return self.elements * self.item_bits // 8

    @property
    def is_dense(self) -> bool:
        """Whether the numbers lie end to end, rows first."""
        return self.stride is None or rows_first(self.shape, self.stride)

    @property
    def extent(self) -> tuple[int, int]:
        """The bytes of the storage, from and to, that its elements touch."""
        if not self.elements:
            return 0, 0
        width = self.item_bits // 8
        if self.stride is None:
            return self.offset * width, self.offset * width + self.length
        last = sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        return self.offset * width, (self.offset + last + 1) * width


def rows_first(shape: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether these strides, in elements, are those of a dense tensor whose last dimension runs fastest."""
    step = 1
    for size, stride_of in zip(reversed(shape), reversed(stride), strict=True):
        if size != 1:
            if stride_of != step:
                return False
            step *= size
    return True


def _whole(width: int) -> ElementType:
    return ElementType(8 * width, width, width)


BYTE: Final = _whole(1)
TWO_BYTES: Final = _whole(2)
FOUR_BYTES: Final = _whole(4)
EIGHT_BYTES: Final = _whole(8)
COMPLEX_32: Final = ElementType(32, 2, 4)
COMPLEX_64: Final = ElementType(64, 4, 8)
COMPLEX_128: Final = ElementType(128, 8, 16)
TWO_BITS: Final = ElementType(2, OPAQUE_WIDTH, 1)
FOUR_BITS: Final = ElementType(4, OPAQUE_WIDTH, 1)
SIX_BITS: Final = ElementType(6, OPAQUE_WIDTH, 3)


def similarity_key(name: str, shape: Sequence[int]) -> bytes:
    """The first 8 bytes of the BLAKE3 over shape and name: equal in every format and precision."""
    text = f"{','.join(map(str, shape))}\0{name}"
    return blake3(text.encode("utf-8", "surrogatepass")).digest(KEY_BYTES)


def strided_key(name: str, shape: Sequence[int], stride: Sequence[int]) -> bytes:
    """The similarity key, if the elements lie in the order of the dimensions; else one that has their order in it.

    ``stride`` counts elements, one number for each dimension.
    """
    rows_first = [step for size, step in zip(shape, stride, strict=True) if size != 1]
    in_order = all(former >= latter for former, latter in pairwise(rows_first))
    return similarity_key(name if in_order else f"{name}{tuple(stride)}", shape)


def checked(spans: Iterable[Span], size_bytes: int) -> list[Span]:
    """The spans in file order; raises DoubtError unless they are disjoint, not empty and inside the file."""
    ordered = sorted(spans, key=lambda span: span.offset)
    end = 0
    for span in ordered:
        if span.offset < end or span.length <= 0:
            raise DoubtError("tensors overlap")
        end = span.offset + span.length
    if end > size_bytes:
        raise DoubtError("a tensor runs past the end of the file")
    return ordered
