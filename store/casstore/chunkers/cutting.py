"""Cutting a file into pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from casstore.buffers import Buffer
from casstore.chunkers.opaque import cut_opaque
from casstore.chunkers.plan import Region, plan
from casstore.chunkers.reads import read_exactly
from casstore.chunkers.spans import Piece, RandomAccess, Span


def cut(source: RandomAccess, spans: Sequence[Span]) -> Iterator[tuple[Piece, Buffer]]:
    """The pieces of a file with their bytes, in order, covering it exactly; none is over 8 MiB.

    Reads the source front to back, holding some 10 MiB at most. The same bytes and spans always give the
    same pieces. Raises ShortReadError when the source has fewer bytes than it said.
    """
    for region in plan(source.size_bytes, spans):
        if region.step_bytes:
            yield from _cut_tensor(source, region)
        else:
            yield from cut_opaque(source, region.offset, region.length)


def _cut_tensor(source: RandomAccess, region: Region) -> Iterator[tuple[Piece, Buffer]]:
    offset = region.offset
    for length in region.lengths():
        data = read_exactly(source, offset, length)
        yield Piece(offset, length, region.item_width, _piece_key(region, offset - region.offset)), data
        offset += length


def _piece_key(region: Region, byte_offset: int) -> bytes:
    if not region.key:
        return b""
    element = byte_offset // max(region.item_width, 1)
    return hashlib.blake2b(element.to_bytes(8, "little"), digest_size=8, key=region.key[:64]).digest()
