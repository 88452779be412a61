"""A file whose bytes are at hand, for the readers of formats."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InMemory:
    """Bytes as a `casstore.chunkers.spans.RandomAccess`."""

    data: bytes

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        return len(self.data)

    def read_at(self, offset: int, length: int) -> bytes:
        """A part of them."""
        return self.data[offset : offset + length]
