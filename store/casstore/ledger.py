"""The ledger: journal and index kept in step under one lock. Here is the moment that counts.

A change is: take the commit lock, ``BEGIN IMMEDIATE``, bring the index up to the journal, change rows, append to the
journal and sync it, COMMIT. The order makes a COMMIT that fails after the sync harmless: the next to open replays it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import dropwhile
from pathlib import Path

from casstore import files
from casstore.digests import Digest
from casstore.errors import BusyError, DamagedError, NeedsRepairError, StoreError
from casstore.frames import FrameKind
from casstore.index.database import Database
from casstore.index.refs import Meta, RefRows
from casstore.index.rows import Rows
from casstore.journal import Entry, Journal, Operation, PackAdded, PackRemoved, Position, RefMoved
from casstore.layout import Layout
from casstore.leases import exclusive
from casstore.packs import SealedPack, list_packs, pack_path, read_frames, read_pack_sequence
from casstore.refs import RefKey
from casstore.reserve import Reserve

_WAIT_SECONDS = 120.0
_REWRITE_BYTES = 8 << 20
_LOG_BYTES = 4 << 20


class Change:
    """One transaction in the making: rows are changed at once, operations go to the journal at its end."""

    def __init__(self, rows: Rows, refs: RefRows) -> None:
        self._rows = rows
        self._refs = refs
        self.operations: list[Operation] = []

    def add_pack(self, pack: SealedPack) -> None:
        """Let a durable pack count."""
        self._rows.add_pack(pack)
        self.operations.append(PackAdded(pack.id))

    def move_to(self, pack: SealedPack, places: Mapping[tuple[FrameKind, bytes], tuple[bytes, int]]) -> None:
        """Let a durable pack count whose frames take the place of others, see `Rows.move`."""
        self._rows.move(pack, places)
        self.operations.append(PackAdded(pack.id))

    def remove_packs(self, pack_ids: Collection[bytes]) -> None:
        """Let packs count no more; unlink them after the change has ended, not before."""
        self._rows.remove_packs(pack_ids)
        self.operations += [PackRemoved(pack_id) for pack_id in pack_ids]

    def set_ref(self, key: RefKey, target: Digest | None) -> None:
        """Move a ref; None removes it."""
        before = self._refs.get(key)
        if target == (before.target if before else None):
            return
        order = before.order if before else self._refs.next_order()
        self._refs.put(key, target, order)
        self.operations.append(RefMoved(key, before.target if before else None, target, order))


class Ledger:
    """Opens journal and index together and makes every change to them."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._thread_lock = threading.RLock()
        self.journal = Journal(layout.journal)
        self._inode = layout.index.stat().st_ino  # before it is opened: one replaced in between must not look current
        self.reserve = Reserve(layout)
        with self.reserve.lent():
            self.database = Database(layout.index)
        self.rows = Rows(self.database)
        self.refs = RefRows(self.database)
        self.meta = Meta(self.database)

    @classmethod
    def create(cls, layout: Layout) -> None:
        """Make an empty journal and index."""
        Database.create(layout.index)
        Journal(layout.journal).rewrite((), 0)

    def open(self) -> None:
        """Bring the index up to the journal if it is behind. Raises NeedsRepairError when it is ahead."""
        position = self.meta.position
        if position is None or position.offset != self.journal.size_bytes or position.generation != self._generation():
            with self.locked():
                pass

    @property
    def sequence(self) -> int:
        """The sequence number of the last transaction that the index knows."""
        position = self.meta.position
        return position.sequence if position is not None else 0

    @contextlib.contextmanager
    def change(self) -> Iterator[Change]:
        """One transaction over journal and index; nothing of it stays when the block raises."""
        with self.locked():
            position = self.meta.position
            assert position is not None
            change = Change(self.rows, self.refs)
            yield change
            if change.operations:
                self.meta.set_position(self.journal.append(position, change.operations))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """The commit lock and an index transaction over an index that is level with the journal."""
        busy = f"another process is writing to the store {self._layout.root}"
        with self._thread_lock, exclusive(self._layout.commit_lock, _WAIT_SECONDS, busy=busy):
            if self.is_replaced():
                raise BusyError(f"the store {self._layout.root} was repaired meanwhile", remedy="run the command again")
            with self.reserve.lent() as is_short:
                with self.database.writing():
                    self._catch_up()
                    yield
                # The change stands, so a full disk must not make it look failed now; the next change tries this again.
                with contextlib.suppress(StoreError, OSError):
                    self._keep_small(room_is_short=is_short)

    def check_packs(self) -> None:
        """Raise NeedsRepairError when a pack was begun after the journal's end: the journal is an old copy."""
        strangers = set(list_packs(self._layout.packs)) - self.rows.pack_ids()
        for pack_id in strangers:
            with contextlib.suppress(FileNotFoundError, DamagedError):
                _, sequence = read_pack_sequence(pack_path(self._layout.packs, pack_id))
                position = self.meta.position
                if position is not None and sequence > position.sequence and not self._moved_on(position):
                    raise NeedsRepairError(
                        f"the journal of {self._layout.root} is older than its packs, as from an old backup"
                    )

    def never_entered(self, pack_ids: Collection[bytes]) -> set[bytes]:
        """Of sealed packs that nobody is about to enter, those that the journal does not name, now or after a power
        cut: their files may go."""
        with self.locked():
            self.journal.sync()
            return set(pack_ids) - self.rows.pack_ids()

    def is_replaced(self) -> bool:
        """Whether a repair has put another index in the place of the one that is open."""
        try:
            return self._layout.index.stat().st_ino != self._inode
        except FileNotFoundError:
            return True

    def close(self) -> None:
        """Close the database, under the commit lock, since SQLite folds in the log when the last one closes."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(Exception):
                stack.enter_context(exclusive(self._layout.commit_lock, 1.0, busy="closing"))
            with self.reserve.lent():
                self.database.close()

    def _moved_on(self, position: Position) -> bool:
        """Whether somebody committed since; then the journal's end is not the one that was compared with."""
        return self.journal.size_bytes > position.offset

    def _generation(self) -> str:
        return self.journal.begins().generation

    def _catch_up(self) -> None:
        start = self.journal.begins()
        position = self.meta.position
        if position is None:
            # A new store's. An index that has lost its rows must be rebuilt: the journal does not tell what gc dropped.
            if any(entry.operations for entry in self.journal.entries(start)):
                raise NeedsRepairError(f"the index of {self._layout.root} is empty")
            position = start
        elif position.generation != start.generation:
            # The journal was rewritten. That happens only while the index is level with it, so an index that has not
            # noticed must stand exactly where the new generation begins.
            entries = list(self.journal.entries(start))
            if not entries or not self.journal.continues(position):
                raise NeedsRepairError(f"the index of {self._layout.root} does not belong to its journal")
            position = entries[0].after
        size_bytes = self.journal.size_bytes
        if size_bytes < position.offset:
            raise NeedsRepairError(f"the journal of {self._layout.root} is older than its index")
        if size_bytes > position.offset:
            entries = list(self.journal.entries(position))
            if entries:
                replay(self._layout.packs, entries, self.rows, self.refs)
                position = entries[-1].after
            if size_bytes > position.offset:
                self.journal.cut(position)
        if position != self.meta.position:
            self.meta.set_position(position)

    def _keep_small(self, *, room_is_short: bool) -> None:
        """Fold in the index's log, and begin a new generation of the journal when most of the old one is history."""
        self.database.checkpoint(0 if room_is_short else _LOG_BYTES)
        if self.journal.size_bytes <= _REWRITE_BYTES:
            return
        with self.database.writing():
            position = self.meta.position
            assert position is not None
            operations: list[Operation] = [PackAdded(pack_id) for pack_id in self.rows.pack_ids_in_order()]
            operations += [RefMoved(ref.key, None, ref.target, ref.order) for ref in self.refs.all()]
            if 2 * _LINE_BYTES * len(operations) < self.journal.size_bytes:
                after = position.checksum
                self.meta.set_position(self.journal.rewrite(operations, position.sequence, after=after))


_LINE_BYTES = 100
"""About what one operation takes in the journal."""


def replay(packs: Path, entries: Sequence[Entry], rows: Rows, refs: RefRows) -> None:
    """Do to the index what the journal says.

    An index falls behind when its COMMIT fails or never comes after the journal's sync: by one transaction, or a few
    where the disk is full. They may need what is condemned, so all of it is let go; a gc that finds nothing condemned
    just drops nothing.

    An old copy of the index is another thing: rows that gc dropped since are in it, or in the packs it has yet to
    enter, and may count on packs that are gone. Raises NeedsRepairError where that cannot be ruled out: when a pack
    that was removed has rows, or was removed after others were added; and when a pack is missing.
    """
    operations = [operation for entry in entries for operation in entry.operations]
    removed = {operation.id for operation in operations if isinstance(operation, PackRemoved)}
    known = rows.pack_ids()
    added = {operation.id for operation in operations if isinstance(operation, PackAdded)} - removed - known
    changes = [operation.id for operation in operations if not isinstance(operation, RefMoved)]
    removed_later = any(pack_id in removed for pack_id in dropwhile(lambda pack_id: pack_id not in added, changes))
    rows_removed = rows.remove_packs(removed & known)
    if removed_later or rows_removed:
        raise NeedsRepairError("the index is too far behind its journal to be brought up to it")
    for operation in operations:
        match operation:
            case PackAdded(pack_id) if pack_id in added:
                rows.add_pack(sealed_pack(packs, pack_id))
            case RefMoved(key, _, new, order):
                refs.put(key, new, order)
            case _:
                pass
    rows.acquit_all()


def sealed_pack(packs: Path, pack_id: bytes) -> SealedPack:
    """A pack that lies in the store, as it was when sealed. Raises NeedsRepairError when it does not."""
    path = pack_path(packs, pack_id)
    try:
        return SealedPack(pack_id, path.stat().st_size, read_frames(path))
    except FileNotFoundError as error:
        raise NeedsRepairError(f"the pack {path.name} is missing") from error
    except OSError as error:
        raise files.unreadable(error, path, f"the pack {path.name}") from error
