"""Leftovers: what operations that were killed left behind."""

from __future__ import annotations

from casstore.engine import Engine
from casstore.leases import open_leases
from casstore.packs import remove_dead_writers_files
from casstore.refs import RefKey, RefKind


def remove_leftovers(engine: Engine, *, dry_run: bool = False) -> int:
    """Remove temporary packs and partial refs of operations that are dead; gives the bytes of the files.

    What only a partial ref protected is then gc's. Operations that run keep theirs.
    """
    freed = remove_dead_writers_files(engine.layout.packs, dry_run=dry_run)
    dead = dead_partials(engine)
    if dead and not dry_run:
        with engine.ledger.change() as change:
            for key in dead:
                change.set_ref(key, None)
    return freed


def dead_partials(engine: Engine) -> list[RefKey]:
    """The partial refs of operations that are dead."""
    refs = engine.ledger.refs.all(RefKind.PARTIAL)  # before the leases: an operation that begins now is in neither
    alive = set(open_leases(engine.layout.leases))
    return [ref.key for ref in refs if ref.key.name not in alive]
