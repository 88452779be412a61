"""Chunkers: where a file is cut into chunks."""

from casstore.chunkers.cutting import cut
from casstore.chunkers.reads import ShortReadError

__all__ = ["ShortReadError", "cut"]
