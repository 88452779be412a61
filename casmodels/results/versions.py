"""What is told of a version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VersionResult:
    """One version of a name. ``created`` is ISO 8601 in UTC; ``stored_bytes`` is all that it needs, shared or not."""

    name: str
    version: str
    tags: tuple[str, ...]
    created: str
    source: str
    revision: str | None
    message: str
    files: int
    size_bytes: int
    stored_bytes: int
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """A removed version or name; ``freeable_bytes`` is what `gc` would free now."""

    name: str
    versions: tuple[str, ...]
    freeable_bytes: int
