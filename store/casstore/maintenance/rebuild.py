"""Rebuilding the index from the journal and the packs. FORMAT.md, "Rebuild"."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from casstore.errors import BusyError, DamagedError, NeedsRepairError, NewerFormatError, StoreError
from casstore.index.database import Database, remove_database, replace_database
from casstore.index.filling import filling
from casstore.index.places import Place, Places
from casstore.index.refs import Meta, RefRows
from casstore.index.rows import Rows
from casstore.journal import Entry, Journal, Operation, PackAdded, PackRemoved, Position, RefMoved
from casstore.layout import Layout
from casstore.leases import exclusive, open_leases, wait_for_leases
from casstore.ledger import sealed_pack
from casstore.maintenance.wholeness import adopt_versions, mark_what_is_not_whole
from casstore.packs import PackReader, SealedPack, list_packs, pack_path, read_pack_sequence
from casstore.reserve import Reserve
from casstore.workers import Workers

_LOCK_WAIT_SECONDS = 10.0
_READERS = 4
"""Packs at once: enough for a disk and some cores; the frames of each are held until their turn."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found: packs entered, the file names of those that the journal names but are missing, the ids of
    those taken in though the journal does not name them and how many versions in them were given refs, how many of
    the journal's lines are damaged, and the places that the index before knew."""

    packs: int
    lost_packs: tuple[str, ...]
    adopted_packs: tuple[bytes, ...]
    adopted_versions: int
    damaged_lines: int
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class _History:
    """What counts: packs, oldest first; those that do not any more; the refs' moves; the last sequence number; where
    the journal ends if it can stay as it is; the checksum that a new journal is to go on from; damaged lines; and
    whether other packs than these may have counted."""

    packs: list[bytes]
    removed: set[bytes]
    moves: list[RefMoved]
    sequence: int
    end: Position | None
    after: str = ""
    damaged_lines: int = 0
    has_gaps: bool = False


def rebuild(layout: Layout, *, wait_seconds: float = 60.0) -> Rebuilt:
    """Make a new index from the journal and the packs it names. Nobody may have the store in use.

    What was removed or never committed does not come back: the journal alone decides, unless it is itself damaged or
    older than the packs. Where it is damaged, an index that stands at its end is believed instead; failing that, and
    where the journal is an old copy, packs that it should know are taken in too, since losing them would be worse.

    Raises BusyError when an operation does not end in time.
    """
    busy = BusyError(
        f"the store {layout.root} is in use", remedy="end the other commands, then run `casmodels repair` again"
    )
    deadline = time.monotonic() + wait_seconds
    with exclusive(layout.maintenance_lock, _LOCK_WAIT_SECONDS, busy=busy.message):
        while True:
            # Not under the commit lock, which those who hold the leases may need in order to end.
            wait_for_leases(layout.leases, open_leases(layout.leases), deadline - time.monotonic())
            with exclusive(layout.commit_lock, _LOCK_WAIT_SECONDS, busy=busy.message), Reserve(layout).lent():
                if not open_leases(layout.leases):
                    return _rebuild(layout)
            if time.monotonic() >= deadline:
                raise busy


def _rebuild(layout: Layout) -> Rebuilt:
    history = _history(layout)
    adopted = _packs_past(layout, history)
    places, are_ours = _places(layout)
    temporary = layout.index.with_name(f"{layout.index.name}.rebuilt")
    remove_database(temporary)
    database = Database(temporary)
    packs = PackReader(layout.packs)
    try:
        rows, refs = Rows(database), RefRows(database)
        with database.writing():
            lost = _fill(layout, rows, refs, [*history.packs, *adopted], history.moves)
            versions = adopt_versions(rows, refs, packs, list(adopted))
            mark_what_is_not_whole(rows, refs, packs)
            Places(database, contextlib.nullcontext).take_over(places if are_ours else ())
            Meta(database).set_position(_level_journal(layout, history, refs, adopted))
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        packs.close()
        database.close()
    replace_database(temporary, layout.index)
    entered = len(history.packs) + len(adopted) - len(lost)
    return Rebuilt(entered, tuple(lost), tuple(adopted), versions, history.damaged_lines, places)


def _history(layout: Layout) -> _History:
    journal = Journal(layout.journal)
    try:
        entries = list(journal.entries(journal.begins()))
        if entries and not journal.is_rotten(entries[-1].after):
            end = entries[-1].after
            return _history_by_index(layout, ahead_of=end) or _history_of(entries, end=end)
    except NeedsRepairError:
        if not layout.journal.exists():
            return _history_by_index(layout) or _history_of([], damaged_lines=1)
    salvaged = list(journal.salvage())
    damaged_lines = max(salvaged.count(None), 1)
    return _history_by_index(layout, damaged_lines) or _history_of(
        [entry for entry in salvaged if entry is not None], damaged_lines=damaged_lines
    )


def _history_of(entries: list[Entry], *, end: Position | None = None, damaged_lines: int = 0) -> _History:
    operations = [operation for entry in entries for operation in entry.operations]
    removed = {operation.id for operation in operations if isinstance(operation, PackRemoved)}
    added = dict.fromkeys(operation.id for operation in operations if isinstance(operation, PackAdded))
    return _History(
        packs=[pack_id for pack_id in added if pack_id not in removed],
        removed=removed,
        moves=[operation for operation in operations if isinstance(operation, RefMoved)],
        sequence=max((entry.after.sequence for entry in entries), default=0),
        end=end,
        damaged_lines=damaged_lines,
        has_gaps=damaged_lines > 0,
    )


def _history_by_index(layout: Layout, damaged_lines: int = 1, *, ahead_of: Position | None = None) -> _History | None:
    """What the index says that is to be replaced, if it is sound and stands where the journal ends or has ended; or
    further than a journal that has lost its end: a transaction is in the index only after it was in the journal."""
    if not layout.index.exists():
        return None
    try:
        database = Database(layout.index)
    except NewerFormatError:
        raise
    except StoreError:
        return None
    try:
        position = Meta(database).position
        if position is None or not database.is_sound():
            return None
        if ahead_of is None and Journal(layout.journal).size_bytes not in (0, position.offset):
            return None
        if ahead_of is not None and not _is_ahead(position, ahead_of):
            return None
        packs = Rows(database).pack_ids_in_order()
        moves = [RefMoved(ref.key, None, ref.target, ref.order) for ref in RefRows(database).all()]
    except StoreError:
        return None
    finally:
        database.close()
    return _History(packs, set(), moves, position.sequence, None, position.checksum, damaged_lines)


def _is_ahead(position: Position, end: Position) -> bool:
    return position.generation == end.generation and position.sequence > end.sequence


def _places(layout: Layout) -> tuple[tuple[Place, ...], bool]:
    """The directories that the index knows, if it can be read, and whether it is this journal's.

    Of any index they may have what is lost. But what the index of another store says that it wrote there is nothing
    that this one could give back, so it must not be replaced or removed as if it were.
    """
    if not layout.index.exists():
        return (), False
    try:
        database = Database(layout.index)
        try:
            places = tuple(Places(database, contextlib.nullcontext).all())
            return places, _is_of_this_journal(layout, database)
        finally:
            database.close()
    except NewerFormatError:
        raise
    except StoreError:
        return (), False  # only places to look are lost, and re-reading


def _is_of_this_journal(layout: Layout, database: Database) -> bool:
    try:
        position = Meta(database).position
        return position is not None and position.generation == Journal(layout.journal).begins().generation
    except NeedsRepairError:
        return False


def _packs_past(layout: Layout, history: _History) -> dict[bytes, int]:
    """Packs that the journal does not know though it should: their ids, with the sequence number they were begun at."""
    known = history.removed.union(history.packs)
    found = {}
    for pack_id in list_packs(layout.packs):
        if pack_id not in known:
            try:
                _, begun = read_pack_sequence(pack_path(layout.packs, pack_id))
            except DamagedError:
                continue
            if history.has_gaps or begun > history.sequence:
                found[pack_id] = begun
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _fill(layout: Layout, rows: Rows, refs: RefRows, packs: list[bytes], moves: list[RefMoved]) -> list[str]:
    """Enter packs and refs; gives the packs that are missing."""
    lost = []
    # Of two copies of a frame the newer counts: it was stored because the older was damaged, or dropped.
    with filling(rows) as add:
        for pack_id, reading in _read_ahead(layout.packs, packs):
            try:
                add(reading.result())
            except NeedsRepairError:
                lost.append(pack_path(Path(), pack_id).name)
    for move in moves:
        refs.put(move.key, move.new, move.order)
    return lost


def _read_ahead(directory: Path, packs: list[bytes]) -> Iterator[tuple[bytes, Future[SealedPack]]]:
    """Each pack while a few after it are being read: one without its trailer is hashed from one end to the other."""
    workers = Workers(_READERS)
    ahead: deque[tuple[bytes, Future[SealedPack]]] = deque()
    try:
        for pack_id in packs:
            ahead.append((pack_id, workers.code(sealed_pack, directory, pack_id)))
            if len(ahead) > _READERS:
                yield ahead.popleft()
        yield from ahead
    finally:
        workers.close()


def _level_journal(layout: Layout, history: _History, refs: RefRows, adopted: dict[bytes, int]) -> Position:
    """Make the journal say what the index says; gives its end. Packs that are lost stay in it: they may come back."""
    journal = Journal(layout.journal)
    if history.end is not None and not adopted:
        if journal.size_bytes > history.end.offset:
            journal.cut(history.end)
        return history.end
    operations: list[Operation] = [PackAdded(pack_id) for pack_id in [*history.packs, *adopted]]
    operations += [RefMoved(ref.key, None, ref.target, ref.order) for ref in refs.all()]
    sequence = max([history.sequence, *adopted.values()]) + 1
    return journal.rewrite(operations, sequence, after=history.after)
