"""SIGKILL at the writes, fsyncs, renames, unlinks and truncates of every command: through the seam, and from outside by
strace, which also meets those of SQLite. After each kill nothing that was finished is lost, the next command works, and
one gc takes back what leaked."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.crash import outside
from tests.crash.scene import COMMANDS, Size, prepared
from tests.crash.sweeping import Swept, sweep
from tests.quick_disk import quick_directory
from tests.torture.plan import Mutation, Outcome, Plan


@dataclass(frozen=True, slots=True)
class _Extent:
    """Which commands are killed, what is in the scene, at how many places in either way, and how many at once."""

    commands: Sequence[str]
    size: Size
    seam: int
    outside: int
    workers: int


_MOST = ("pull", "checkpoint", "gc", "compact", "verify", "repair", "checkout", "view", "heal")

_SHORT = _Extent(_MOST, Size(files=4, versions=2, garbage=2), seam=7, outside=1, workers=1)
_FULL = _Extent(tuple(COMMANDS), Size(files=40, versions=60, garbage=60), seam=150, outside=150, workers=2)


def run(plan: Plan) -> Iterator[Outcome]:
    """Each command, in both ways."""
    extent = _SHORT if plan.is_short else _FULL
    why_not = outside.why_not()
    if why_not:
        yield Outcome("killed from outside", 0, note=why_not)
    # A kill leaves what is in the caches, so a real disk would only be slower.
    with quick_directory() as directory:
        works = [directory / str(number) for number in range(extent.workers)]
        found: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        with prepared(works, plan.random("scene"), extent.size) as environ, ThreadPoolExecutor(extent.workers) as pool:

            def work_off(number: int) -> None:
                swept = sweep(
                    works[number],
                    extent.commands[number :: extent.workers],
                    environ,
                    seam=extent.seam,
                    outside=0 if why_not else extent.outside,
                    seed=str(plan.seed),
                )
                try:
                    for outcome in _outcomes(swept):
                        found.put(outcome)
                finally:
                    found.put(None)

            workers = pool.map(work_off, range(extent.workers))
            for _ in works:
                yield from iter(found.get, None)
            deque(workers, maxlen=0)  # raises what they have raised


def _outcomes(found: Iterator[Swept]) -> Iterator[Outcome]:
    try:
        for one in found:
            what = f"{one.command} killed {one.way}"
            yield Outcome(what, one.kills, tuple(one.failures), f"of {one.calls} calls")
    except AssertionError as error:
        yield Outcome("commands that are not killed", 1, (str(error),))


MUTATIONS = [
    Mutation(
        "a pack counts before it is sealed",
        "store/casstore/transactions.py",
        """            self._seal()
            self._take_sealed(all_of_them=True)
            if not self._sealed and not self._refs:
                return
            with self._engine.ledger.change() as change:
                self._enter(change)
                for condition in self._conditions:
                    condition()
                for key, target in self._refs.items():
                    self._set_ref(change, key, target)
""",
        """            pack, self._pack = self._pack, None
            self._take_sealed(all_of_them=True)
            if pack is not None:
                self._sealed.append(SealedPack(pack.id, pack.size_bytes, tuple(pack._frames)))
            if not self._sealed and not self._refs:
                return
            with self._engine.ledger.change() as change:
                self._enter(change)
                for condition in self._conditions:
                    condition()
                for key, target in self._refs.items():
                    self._set_ref(change, key, target)
            if pack is not None:
                pack.seal()
""",
    ),
    Mutation(
        "the journal's line is written after the index has been committed",
        "store/casstore/ledger.py",
        """            yield change
            if change.operations:
                self.meta.set_position(self.journal.append(position, change.operations))
""",
        """            yield change
        if change.operations:
            end = self.journal.append(position, change.operations)
            with self.database.writing():
                self.meta.set_position(end)
""",
    ),
    Mutation(
        "gc unlinks packs before the journal says that they do not count",
        "store/casstore/maintenance/gc.py",
        """        change.remove_packs([pack_id for pack_id, _ in dead])
    for pack_id, _ in dead:
        files.unlink(pack_path(engine.layout.packs, pack_id))
""",
        """        change.remove_packs([pack_id for pack_id, _ in dead])
        for pack_id, _ in dead:
            files.unlink(pack_path(engine.layout.packs, pack_id))
""",
    ),
    Mutation(
        "compact moves rows to a pack that has no name yet",
        "store/casstore/maintenance/compact.py",
        """            sealed = pack.seal()
            with self._engine.ledger.change() as change:
                change.move_to(sealed, self._places)
""",
        """            from casstore.packs import SealedPack

            sealed = SealedPack(pack.id, pack.size_bytes, tuple(pack._frames))
            with self._engine.ledger.change() as change:
                change.move_to(sealed, self._places)
            pack.seal()
""",
    ),
    Mutation(
        "repair takes the old index away before the new one is in its place",
        "store/casstore/index/database.py",
        """    files.unlink(link)
    files.make_link(link, target.name)
""",
        """    files.unlink(link)
    remove_database(path)
    files.make_link(link, target.name)
""",
    ),
    Mutation(
        "healing unlinks the pack with the damage before what it keeps of it counts elsewhere",
        "casmodels/library/upkeep.py",
        """        search = healing.Search(healer, lost, engine.path, progress or SilentProgress())
""",
        """        from casstore import files
        from casstore.frames import Frame, parse_frame
        from casstore.index.order import frames_in_packs
        from casstore.packs import pack_path

        parts = engine.engine
        hurt = {row.pack for row in parts.ledger.rows.damaged_chunks() if row.base is None}
        with frames_in_packs(parts.ledger.database, hurt) as rows:
            kept = [Frame.of(*parse_frame(parts.frame_at(row))) for row in rows]
        with parts.ledger.change() as change:
            change.remove_packs(hurt)
        for pack_id in hurt:
            files.unlink(pack_path(parts.layout.packs, pack_id))
        for frame in kept:
            transaction._append(frame)
        search = healing.Search(healer, lost, engine.path, progress or SilentProgress())
""",
    ),
    Mutation(
        "a checkout writes into the file itself",
        "casmodels/views/materialise.py",
        """        temporary = temporary_in(self._staging_of(target.parent))
""",
        """        temporary = target
        temporary.unlink(missing_ok=True)
""",
    ),
    Mutation(
        "a view's refs come before what they name",
        "casmodels/views/repo_folder.py",
        """            materialiser.write_all(wanted, written)
            if not listing.files:""",
        """            make_parents(self._directory, snapshot_path(listing.commit, ""))
            self._point(listing.version)
            materialiser.write_all(wanted, written)
            if not listing.files:""",
    ),
    Mutation(
        "gc leaves what a dead writer had begun",
        "store/casstore/packs.py",
        """            if not dry_run:
                files.unlink(path)
    return freed
""",
        """    return freed
""",
    ),
]
