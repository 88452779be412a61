"""Leftovers: what pulls that were killed left among the downloads, checkouts in their directories, and
loaders in memory.
"""

from __future__ import annotations

from pathlib import Path

from casmodels.downloads import list_partials, remove_partials
from casmodels.library import viewing
from casmodels.library.context import Context
from casmodels.results import CleanupResult
from casmodels.runtime.memory_directories import remove_dead
from casstore import files
from casstore.leases import open_leases
from casstore.maintenance.leftovers import remove_leftovers

_UNPACKING = ".unpacking"


def unpacking_path(downloads: Path, lease: str) -> Path:
    """Where an operation unpacks a gzip file; by the lease in its name others see whether the operation lives."""
    return downloads / f"{lease}{_UNPACKING}"


def cleanup(context: Context, *, dry_run: bool) -> CleanupResult:
    """Remove unfinished downloads and temporary files, in views and checkouts too, that nobody works on.

    So go the files in memory of processes that were killed while they loaded a model, of whichever store.
    """
    removed, freed = remove_dead(dry_run=dry_run)
    engine = context.existing()
    if engine is None:
        return CleanupResult(freed, removed, dry_run=dry_run)
    downloads = engine.layout.downloads
    partials = list_partials(downloads) if dry_run else remove_partials(downloads)
    freed += sum(partial.size_bytes for partial in partials)
    removed += len(partials)
    alive = set(open_leases(engine.layout.leases))
    for path in downloads.glob(f"*{_UNPACKING}"):
        if path.name.removesuffix(_UNPACKING) not in alive:
            freed += path.stat().st_size
            removed += 1
            if not dry_run:
                files.unlink(path)
    with engine.reading():
        freed += remove_leftovers(engine.engine, dry_run=dry_run)
    views = viewing.clean(context, dry_run=dry_run)
    return CleanupResult(freed + views.reclaimed_bytes, removed + views.removed, views.kept, dry_run)
