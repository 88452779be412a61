"""What freeing space gives back, and where the rest of it goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GcResult:
    """What gc freed, or with a dry run would free."""

    reclaimed_bytes: int
    chunks: int
    packs: int
    seconds: float
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class CompactResult:
    """What compact saved, or with a dry run would save: chunks stored against better bases, packs rewritten.

    ``damaged_packs`` were left alone because something in them is damaged.
    """

    reclaimed_bytes: int
    deltas: int
    packs: int
    damaged_packs: int
    seconds: float
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class CleanupResult:
    """What cleanup removed; ``kept`` are files that others made, left alone."""

    reclaimed_bytes: int
    removed: int = 0
    kept: tuple[str, ...] = ()
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class StatsResult:
    """Where the bytes go. ``stored_bytes`` counts all files that the store needs, index included, views not."""

    logical_bytes: int
    unique_bytes: int
    stored_bytes: int
    index_bytes: int
    views_bytes: int
    models: int
    versions: int
    chunks: int
    by_codec: dict[str, dict[str, int]]
