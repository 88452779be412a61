"""gc: drop what no ref needs. FORMAT.md, "gc", gives the protocol and why it is safe.

1. Condemn, in one transaction: what no ref reaches is marked, and from then on invisible to every look-up.
2. List the leases that are open and wait for them: whoever looked something up before the condemn is among them.
3. Delete, in one transaction: rescue what newer refs need, drop the rows that are still condemned.
4. Remove, in another: packs without rows count no more. Unlink them last. (Another, because the rows are the index's
   alone: if the COMMIT were lost after the journal's sync, rows would come back whose packs are gone.)

A gc that gives up waiting, or is killed, is finished by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass

from casstore import files
from casstore.closure import closure, root_of
from casstore.engine import Engine
from casstore.errors import BusyError, NeedsRepairError
from casstore.index.database import stale_databases
from casstore.index.reach import Reach
from casstore.leases import exclusive, open_leases, wait_for_leases
from casstore.maintenance.agreement import check_agreement
from casstore.maintenance.needed import add_needed, check_left, check_needed
from casstore.packs import list_packs, pack_path, remove_dead_writers_files
from casstore.refs import RefKey

_LEASES = "gc.leases"
_ROOTS = "gc.roots"
_LOCK_WAIT_SECONDS = 10.0
_SILENT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Collected:
    """What a gc dropped, or would drop: bytes of unlinked files, chunks, packs."""

    reclaimed_bytes: int
    chunks: int
    packs: int


def collect(engine: Engine, *, wait_seconds: float = 60.0, waiting: Callable[[], object] | None = None) -> Collected:
    """Drop what no ref needs. The caller holds no lease.

    ``waiting`` is called when operations that began before have not ended within a second.
    Raises BusyError when another maintenance runs, or when operations that began before did not end in time; what was
    condemned stays so, and the next gc goes on from there.
    """
    with maintenance_lock(engine):
        engine.ledger.check_packs()
        check_agreement(engine)
        collected = Collected(0, 0, 0)
        if engine.ledger.rows.any_condemned():
            _wait(engine, _noted_leases(engine), wait_seconds, waiting)
            collected = _delete(engine)
        strangers = set(list_packs(engine.layout.packs)) - engine.ledger.rows.pack_ids()
        _condemn(engine)
        _wait(engine, _noted_leases(engine), wait_seconds, waiting)
        more = _delete(engine)
        freed, packs = _unlink_strangers(engine, strangers)
        freed += remove_dead_writers_files(engine.layout.packs)
        freed += _unlink_unfinished(engine)
    return Collected(
        collected.reclaimed_bytes + more.reclaimed_bytes + freed,
        collected.chunks + more.chunks,
        collected.packs + more.packs + packs,
    )


def estimate(engine: Engine, without: Collection[RefKey] = ()) -> Collected:
    """What `collect` would drop now, if the refs of those keys were gone. The caller holds a lease."""
    refs = [ref for ref in engine.ledger.refs.all() if ref.key not in without]
    with Reach(engine.ledger.database) as reach:
        add_needed(engine, refs, reach)
        dead = reach.dead_packs()
        return Collected(sum(size_bytes for _, size_bytes in dead), reach.unreached_chunks(), len(dead))


def maintenance_lock(engine: Engine) -> AbstractContextManager[None]:
    """The lock that gc, compact and repair share."""
    busy = f"another gc or repair is running on the store {engine.layout.root}"
    return exclusive(engine.layout.maintenance_lock, _LOCK_WAIT_SECONDS, busy=busy)


def _condemn(engine: Engine) -> None:
    ledger = engine.ledger
    with Reach(ledger.database) as reach:
        # The long walk happens before the lock is taken. If something was committed meanwhile it is done again, all of
        # it: a blob may have got another recipe, and a chunk another base.
        sequence = ledger.sequence
        check_needed(engine, ledger.refs.all(), reach)
        with ledger.locked():
            refs = ledger.refs.all()
            if ledger.sequence != sequence:
                check_needed(engine, refs, reach)
            reach.condemn_the_rest()
            ledger.meta.put(_ROOTS, json.dumps(sorted({str(ref.target) for ref in refs})))
            ledger.meta.put(_LEASES, None)
    # Only now: an operation that begins after the condemn sees nothing condemned and need not be waited for.
    with ledger.locked():
        ledger.meta.put(_LEASES, json.dumps(open_leases(engine.layout.leases)))


def _noted_leases(engine: Engine) -> list[str]:
    """The leases to wait for; listed now if the gc that condemned was killed before it had noted them."""
    noted = _noted(engine, _LEASES)
    return noted if noted is not None else open_leases(engine.layout.leases)


def _noted(engine: Engine, key: str) -> list[str] | None:
    """What a gc has noted for the next one. Raises NeedsRepairError for what is no such note."""
    noted = engine.ledger.meta.get(key)
    if noted is None:
        return None
    try:
        return [str(each) for each in json.loads(noted)]
    except (ValueError, TypeError) as error:
        raise NeedsRepairError(f"the index of {engine.layout.root} is damaged") from error


def _wait(engine: Engine, leases: list[str], wait_seconds: float, waiting: Callable[[], object] | None) -> None:
    directory, silent_seconds = engine.layout.leases, min(_SILENT_SECONDS, wait_seconds)
    if wait_for_leases(directory, leases, silent_seconds):
        return
    if waiting is not None:
        waiting()
    if not wait_for_leases(directory, leases, wait_seconds - silent_seconds):
        raise BusyError(
            f"other commands are still using the store {engine.layout.root}",
            remedy="run `casmodels gc` again when they have ended; nothing is lost meanwhile",
        )


def _delete(engine: Engine) -> Collected:
    ledger = engine.ledger
    with ledger.locked():
        roots = set(_noted(engine, _ROOTS) or ())
        for ref in ledger.refs.all():
            if str(ref.target) not in roots:
                ledger.rows.acquit(closure(engine, *root_of(ref)))
        chunks = ledger.rows.drop_condemned()
        ledger.meta.put(_ROOTS, None)
        ledger.meta.put(_LEASES, None)
    freed_bytes, packs = remove_empty_packs(engine)
    return Collected(freed_bytes, chunks, packs)


def remove_empty_packs(engine: Engine) -> tuple[int, int]:
    """Let packs without rows count no more, and unlink them, under maintenance's lock; gives bytes and packs.

    Raises NeedsRepairError when a frame that has left one is not where the index says.
    """
    dead = engine.ledger.rows.empty_packs()
    for pack_id, _ in dead:
        check_left(engine, pack_id)
    with engine.ledger.change() as change:
        dead = [pack for pack in engine.ledger.rows.empty_packs() if pack in dead]
        change.remove_packs([pack_id for pack_id, _ in dead])
    for pack_id, _ in dead:
        files.unlink(pack_path(engine.layout.packs, pack_id))
    return sum(size_bytes for _, size_bytes in dead), len(dead)


def _unlink_strangers(engine: Engine, strangers: set[bytes]) -> tuple[int, int]:
    """Unlink packs that no journal entry names, now that whoever may have been about to enter them has ended."""
    freed, packs = 0, 0
    for pack_id in engine.ledger.never_entered(strangers) if strangers else ():
        path = pack_path(engine.layout.packs, pack_id)
        if path.exists():
            freed += path.stat().st_size
            packs += 1
            files.unlink(path)
    return freed, packs


def _unlink_unfinished(engine: Engine) -> int:
    """Unlink what a dead writer left of a journal (written under the commit lock) or an index (under maintenance's)."""
    freed = 0
    with engine.ledger.locked():
        for path in [*engine.layout.temporaries(), *stale_databases(engine.layout.index)]:
            freed += path.lstat().st_size
            files.unlink(path)
    return freed
