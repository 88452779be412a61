"""Spans: what a file format says about where its tensors lie.

A span is a hint. It decides where a chunk may begin and how its bytes are best encoded, never what the
bytes are: whatever it claims, the chunks of a blob put end to end are the blob.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

OPAQUE_WIDTH = 0
"""The item width of bytes of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Span:
    """One tensor's bytes within a file.

    ``offset`` and ``length`` are bytes; ``item_width`` is bytes per element (1, 2, 4, 8, 16; 0 when unknown
    or not a whole number of bytes); ``block_bytes`` is the smallest unit in which the type may be cut (an
    element, or a quantisation block); ``key`` is 8 bytes that are equal for tensors that may be similar (a
    digest over the tensor's name and shape, not its type), or empty.
    """

    offset: int
    length: int
    item_width: int
    block_bytes: int
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk to be: bytes ``offset`` to ``offset + length`` of the file, and how to encode them."""

    offset: int
    length: int
    item_width: int = OPAQUE_WIDTH
    key: bytes = b""


class RandomAccess(Protocol):
    """What a span finder reads a file through."""

    @property
    def size_bytes(self) -> int: ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes ``offset`` to ``offset + length``; fewer only at the file's end."""
        ...


SpanFinder: TypeAlias = Callable[[str, RandomAccess], Sequence[Span]]
"""Given a file's name and its bytes, its spans; empty for a file of which nothing is known. Never raises
for bad bytes.
"""
