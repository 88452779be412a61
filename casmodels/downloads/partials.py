"""Unfinished downloads on disk: ``<key>.part`` and, beside it, a sidecar that says what it is part of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PartialFile:
    """An unfinished download that nobody is working on."""

    path: Path
    size_bytes: int


def list_partials(directory: Path) -> list[PartialFile]:
    """The unfinished downloads in a directory that no process holds."""
    raise NotImplementedError


def remove_partials(directory: Path) -> list[PartialFile]:
    """Remove the unfinished downloads that no process holds; gives what was removed."""
    raise NotImplementedError
