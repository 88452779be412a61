"""What saving gives back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckpointResult:
    """A new version. ``stored_bytes`` is what it added; ``read_files`` counts files whose content was read."""

    name: str
    version: str
    parent: str | None
    files: int
    size_bytes: int
    stored_bytes: int
    seconds: float
    read_files: int = 0
    unchanged: bool = False
