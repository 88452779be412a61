"""repair: rebuild the index from packs and journal, and set what is damaged aside so that storing it again heals it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from casstore.digests import BLAKE3, Digest
from casstore.engine import Engine
from casstore.errors import BusyError, DamagedError, NeedsRepairError
from casstore.frames import FrameKind
from casstore.index.database import Database, install, remove_database
from casstore.index.refs import Meta, RefRows
from casstore.index.rows import Rows, State
from casstore.journal import Entry, Journal, Operation, PackAdded, PackRemoved, Position, RefMoved
from casstore.layout import Layout
from casstore.leases import exclusive, open_leases, wait_for_leases
from casstore.ledger import sealed_pack
from casstore.maintenance.verify import Checked, check
from casstore.packs import list_packs, pack_path, read_pack_sequence
from casstore.records import read_recipe, read_version
from casstore.refs import RefKey, RefKind

_LOCK_WAIT_SECONDS = 10.0
_RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild found: packs entered, the file names of those that the journal names but are missing, the ids of
    those taken in though the journal does not name them, and how many of the journal's lines are damaged."""

    packs: int
    lost_packs: tuple[str, ...]
    adopted_packs: tuple[bytes, ...]
    damaged_lines: int


def rebuild(layout: Layout, *, wait_seconds: float = 60.0) -> Rebuilt:
    """Make a new index from the journal and the packs it names. Nobody may have the store in use.

    What was removed or never committed does not come back: the journal alone decides, unless it is itself damaged or
    older than the packs; then packs begun after its end are taken in too, since losing them would be worse.

    Raises BusyError when an operation does not end in time.
    """
    busy = f"the store {layout.root} is in use"
    with (
        exclusive(layout.maintenance_lock, _LOCK_WAIT_SECONDS, busy=busy),
        exclusive(layout.commit_lock, _LOCK_WAIT_SECONDS, busy=busy),
    ):
        if not wait_for_leases(layout.leases, open_leases(layout.leases), wait_seconds):
            raise BusyError(busy, remedy="end the other commands, then run `casmodels repair` again")
        return _rebuild(layout)


def set_aside(engine: Engine, checked: Checked) -> int:
    """Mark frames that a check found broken, so that a look-up misses them and storing the content again heals them.

    Gives how many chunks that were. A recipe that needs a broken chunk stays readable, but its blob no longer counts
    as had, so that the next pull or checkpoint stores it again.
    """
    rows = engine.ledger.rows
    with engine.ledger.locked():
        for kind in FrameKind:
            rows.set_state(kind, (digest for of, digest in checked.broken if of is kind), State.DAMAGED)
        broken_chunks = {digest for kind, digest in checked.broken if kind is FrameKind.CHUNK}
        broken_chunks |= {bytes.fromhex(finding.frame) for finding in checked.findings if finding.frame is not None}
        if broken_chunks:
            rows.set_state(FrameKind.RECIPE, _recipes_with(engine, broken_chunks), State.INCOMPLETE)
    return len(broken_chunks)


def adopt(engine: Engine, rebuilt: Rebuilt) -> int:
    """Give refs to the versions in packs that a rebuild took in without the journal's word; gives how many.

    A version remembers its name in its metadata; one that does not is kept under ``recovered``.
    """
    rows = engine.ledger.rows
    adopted = 0
    with engine.ledger.change() as change:
        named = {ref.target for ref in engine.ledger.refs.all(RefKind.VERSION)}
        for pack_id in rebuilt.adopted_packs:
            for row in list(rows.frames_of(pack_id)):
                digest = Digest(BLAKE3, row.digest)
                if row.kind is FrameKind.VERSION and digest not in named:
                    name = read_version(engine, digest).metadata.get("name", _RECOVERED)
                    change.set_ref(RefKey(RefKind.VERSION, str(name), digest.hex), digest)
                    adopted += 1
    return adopted


def mend(engine: Engine, *, progress: Callable[[int], object] | None = None) -> Checked:
    """Read every stored byte and set aside what is broken. The caller holds a lease."""
    checked = check(engine, data=True, progress=progress)
    set_aside(engine, checked)
    return checked


def _recipes_with(engine: Engine, chunks: set[bytes]) -> list[bytes]:
    found = []
    for digest in engine.ledger.rows.with_prefix(FrameKind.RECIPE, bytes(32), b"\xff" * 32):
        try:
            recipe = read_recipe(engine, Digest(BLAKE3, digest))
        except DamagedError:
            continue
        if any(part.chunk in chunks for part in recipe.parts):
            found.append(digest)
    return found


def _rebuild(layout: Layout) -> Rebuilt:
    entries, damaged_lines = _history(layout)
    operations = [operation for entry in entries for operation in entry.operations]
    removed = {operation.id for operation in operations if isinstance(operation, PackRemoved)}
    packs = {operation.id: None for operation in operations if isinstance(operation, PackAdded)}
    wanted = [pack_id for pack_id in packs if pack_id not in removed]
    sequence = max((entry.after.sequence for entry in entries), default=0)
    adopted = _packs_past(layout, set(wanted) | removed, sequence, all_of_them=bool(damaged_lines))
    temporary = layout.index.with_name(f"{layout.index.name}.rebuilt")
    remove_database(temporary)
    database = Database(temporary)
    try:
        rows, refs, meta = Rows(database), RefRows(database), Meta(database)
        lost = _fill(layout, rows, refs, [*wanted, *adopted], operations)
        if damaged_lines or adopted or lost:
            position = _new_journal(layout, rows, refs, max([sequence, *adopted.values()]) + 1)
        else:
            position = entries[-1].after
            if Journal(layout.journal).size_bytes > position.offset:
                Journal(layout.journal).cut(position)
        meta.set_position(position)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        database.close()
    install(temporary, layout.index)
    return Rebuilt(len(wanted) + len(adopted) - len(lost), tuple(lost), tuple(adopted), damaged_lines)


def _history(layout: Layout) -> tuple[list[Entry], int]:
    """The journal's transactions, and how many of its lines are damaged."""
    journal = Journal(layout.journal)
    try:
        return list(journal.entries(journal.begins())), 0
    except NeedsRepairError:
        if not layout.journal.exists():
            return [], 1
        salvaged = list(journal.salvage())
        return [entry for entry in salvaged if entry is not None], max(salvaged.count(None), 1)


def _packs_past(layout: Layout, known: set[bytes], sequence: int, *, all_of_them: bool) -> dict[bytes, int]:
    """Packs that the journal does not know though it should: their ids, with the sequence number they were begun at."""
    found = {}
    for pack_id in list_packs(layout.packs):
        if pack_id not in known:
            try:
                _, begun = read_pack_sequence(pack_path(layout.packs, pack_id))
            except DamagedError:
                continue
            if all_of_them or begun > sequence:
                found[pack_id] = begun
    return found


def _fill(layout: Layout, rows: Rows, refs: RefRows, packs: list[bytes], operations: list[Operation]) -> list[str]:
    """Enter packs and refs; gives the packs that are missing or cannot be read at all."""
    lost = []
    with rows.database.writing():
        for pack_id in packs:
            try:
                rows.add_pack(sealed_pack(layout.packs, pack_id))
            except (NeedsRepairError, DamagedError):
                lost.append(pack_path(Path(), pack_id).name)
        for operation in operations:
            if isinstance(operation, RefMoved):
                refs.put(operation.key, operation.new, operation.order)
    return lost


def _new_journal(layout: Layout, rows: Rows, refs: RefRows, sequence: int) -> Position:
    operations: list[Operation] = [PackAdded(pack_id) for pack_id in sorted(rows.pack_ids())]
    operations += [RefMoved(ref.key, None, ref.target, ref.order) for ref in refs.all()]
    return Journal(layout.journal).rewrite(operations, sequence)
