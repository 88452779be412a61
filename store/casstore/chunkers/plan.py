"""The plan of a file: which stretches are tensors, cut at fixed steps, and which are cut by their content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from casstore.chunkers.spans import OPAQUE_WIDTH, Span
from casstore.recipes import MAX_CHUNK_BYTES

# All of these decide where chunks begin, so changing one makes every later file miss the chunks stored
# before.
MAX_PIECE_BYTES: Final = MAX_CHUNK_BYTES
STEP_ELEMENTS: Final = 1 << 19  # not bytes: the fp32 and fp16 forms of a tensor are cut at the same elements
NARROW_STEP_BYTES: Final = 1 << 20  # for types under 2 bytes wide, rounded down to whole blocks
MIN_TENSOR_ELEMENTS: Final = 4096  # smaller tensors are cut together with what lies around them

MAX_SPANS: Final = 1 << 18
"""More spans than this are not believed: the largest published shards have some ten thousand tensors."""

_WIDTHS: Final = frozenset((OPAQUE_WIDTH, 1, 2, 4, 8, 16))


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of the file, ``offset`` and ``length`` in bytes.

    With ``step_bytes`` it is a tensor, cut every so many bytes, a short tail joining the last piece; with 0
    it is cut by its content.
    """

    offset: int
    length: int
    step_bytes: int = 0
    item_width: int = OPAQUE_WIDTH
    key: bytes = b""

    @property
    def stop(self) -> int:
        """Where it ends."""
        return self.offset + self.length

    def lengths(self) -> list[int]:
        """The lengths in bytes of a tensor's pieces, in order."""
        whole, tail = divmod(self.length, self.step_bytes)
        lengths = [self.step_bytes] * whole
        if tail:
            joined = self.step_bytes + tail
            if whole and tail * 2 < self.step_bytes and joined <= MAX_PIECE_BYTES:
                lengths[-1] = joined
            else:
                lengths.append(tail)
        return lengths


def plan(size_bytes: int, spans: Sequence[Span]) -> list[Region]:
    """Regions that cover a file of that size exactly, in order.

    Spans are hints from bytes that nobody vouches for. If any of them cannot be true (overlap, end beyond
    the file, part of a block, a width that no type has, too many), none is believed and the whole file is
    one opaque region.
    """
    if not _credible(size_bytes, spans):
        return _opaque(0, size_bytes)
    regions: list[Region] = []
    position = 0
    tensors = [span for span in spans if span.length // max(span.item_width, 1) >= MIN_TENSOR_ELEMENTS]
    for span in sorted(tensors, key=lambda span: span.offset):
        regions += _opaque(position, span.offset)
        regions.append(Region(span.offset, span.length, _step_bytes(span), span.item_width, span.key))
        position = span.offset + span.length
    return regions + _opaque(position, size_bytes)


def _opaque(start: int, stop: int) -> list[Region]:
    return [Region(start, stop - start)] if stop > start else []


def _step_bytes(span: Span) -> int:
    step = STEP_ELEMENTS * span.item_width if span.item_width >= 2 else NARROW_STEP_BYTES
    return max(step - step % span.block_bytes, span.block_bytes)


def _credible(size_bytes: int, spans: Sequence[Span]) -> bool:
    if len(spans) > MAX_SPANS:
        return False
    previous_stop = 0
    for span in sorted(spans, key=lambda span: (span.offset, span.length)):
        if span.offset < previous_stop or span.length < 0 or span.offset + span.length > size_bytes:
            return False
        if span.item_width not in _WIDTHS or not 1 <= span.block_bytes <= MAX_PIECE_BYTES:
            return False
        if span.block_bytes % max(span.item_width, 1) or span.length % span.block_bytes:
            return False
        previous_stop = span.offset + span.length
    return True
