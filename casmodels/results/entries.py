"""What is told of a path of a version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EntryResult:
    """One path of a version. ``kind`` is file, link or directory; ``digest`` the blob's SHA-256."""

    path: str
    kind: str
    size_bytes: int
    mode: str
    digest: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class ContentsResult:
    """One version and its files, those that links lead to under the links' paths."""

    name: str
    version: str
    files: tuple[EntryResult, ...]

    @property
    def target(self) -> str:
        """``NAME@ID``: what means this version whatever is saved meanwhile."""
        return f"{self.name}@{self.version}"
