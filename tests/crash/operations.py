"""The operations that are cut short, each with the store it begins with. Small files need nothing heavy imported."""

from __future__ import annotations

import math
import random
import tempfile
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from casstore import ledger
from casstore.digests import blake3_digest, sha256_digest
from casstore.engine import Settings
from casstore.frames import FrameKind
from casstore.index.places import FileState, Place, PlaceKind
from casstore.index.rows import State
from casstore.layout import Layout
from casstore.maintenance import gc
from casstore.maintenance.compact import compact
from casstore.maintenance.heal import Healer, find_lost, revive
from casstore.maintenance.leftovers import remove_leftovers
from casstore.maintenance.rebuild import rebuild
from casstore.maintenance.repair import mend
from casstore.maintenance.verify import check
from casstore.packs import pack_path
from casstore.refs import RefKey, RefKind
from casstore.store import Store
from casstore.testing.builders import noise, one_tensor, put, remove, stage
from casstore.testing.damage import Range, flip

Acknowledge = Callable[[str], None]
"""Called with the name of a version once the commit that made it, or took it away, has returned."""


def opened(path: Path, *, create: bool = False, deltas: bool = True) -> Store:
    """The store, with one coder and small packs."""
    settings = Settings(pack_bytes=4000, deltas=deltas)
    return Store.open(path, create=create, finder=one_tensor, workers=1, settings=settings)


def tree(seed: int, count: int) -> dict[str, bytes]:
    """That many files, one of which all trees share."""
    return {"shared": noise(0, 900), **{f"f{number}": noise(100 * seed + number, 1500) for number in range(1, count)}}


def tensor(step: float) -> dict[str, bytes]:
    """A file that is one tensor; for small steps they are alike."""
    values = array("f", (math.sin(number) * 0.05 * (1 + step) for number in range(5000)))
    return {"w.4": values.tobytes()}


@dataclass(frozen=True, slots=True)
class Operation:
    """``prepare`` fills a new store (None: making one is a part of it); ``run`` is what is cut short, ``stays`` the
    names that it must leave alone, ``comes`` those that may be there afterwards, ``goes`` those that may be gone;
    ``hurt`` are those that are damaged before: they may be unreadable until `heal`, or until they have come."""

    prepare: Callable[[Store], None] | None
    run: Callable[[Path, Acknowledge], None]
    stays: frozenset[str]
    comes: frozenset[str] = frozenset()
    goes: frozenset[str] = frozenset()
    hurt: frozenset[str] = frozenset()

    def begin(self, path: Path) -> None:
        """Make the store that it begins with."""
        path.mkdir()
        if self.prepare is not None:
            with opened(path, create=True) as store:
                self.prepare(store)


def _two_versions(store: Store) -> None:
    put(store, "a", tree(1, 3))
    put(store, "b", tree(2, 4))


def _removed(store: Store) -> None:
    _two_versions(store)
    for seed in (3, 4):
        remove(store, f"gone{seed}", put(store, f"gone{seed}", tree(seed, 4)))


def _alike(store: Store) -> None:
    """Two chunks that are stored whole though they are alike; one lies in a pack with much that is dead."""
    _removed(store)
    with opened(store.path, deltas=False) as whole, whole.writing() as transaction:
        gone = stage(transaction, "gone5", {"x": noise(7, 3000)})
        stage(transaction, "c", tensor(0))
        stage(transaction, "d", tensor(1e-5))
        transaction.commit()
    remove(store, "gone5", gone)


def _dead_writer(store: Store) -> None:
    """What a pull that was killed leaves: an unfinished pack, and what it had protected."""
    _two_versions(store)
    (store.layout.packs / f"{noise(8, 16).hex()}.pack.tmp").write_bytes(noise(9, 700))
    with store.writing() as transaction:
        for name, data in tree(6, 3).items():
            transaction.keep(transaction.add_bytes(data, name).info)
        transaction.commit()


def _hurt(store: Store) -> None:
    """What is going to be put in is here, but marked as damaged."""
    _two_versions(store)
    rows = store.engine.ledger.rows
    before = set(rows.readable(FrameKind.CHUNK))
    remove(store, "gone5", put(store, "gone5", tree(5, 2)))
    with store.engine.ledger.locked():
        rows.set_state(FrameKind.CHUNK, set(rows.readable(FrameKind.CHUNK)) - before, State.DAMAGED)
        recipe = rows.recipe_of(sha256_digest(tree(5, 2)["f1"]))
        assert recipe is not None
        rows.set_state(FrameKind.RECIPE, [recipe.value], State.INCOMPLETE)


def _damaged(store: Store) -> None:
    """Bits are flipped: in the base of a delta, and in a chunk that shares its pack with whole ones."""
    _two_versions(store)
    put(store, "c", tensor(0))
    put(store, "d", tensor(1e-5))
    delta = store.engine.ledger.rows.frame(FrameKind.CHUNK, blake3_digest(tensor(1e-5)["w.4"]).value)
    assert delta is not None
    assert delta.base is not None
    _flip(store, {delta.base, blake3_digest(tree(2, 4)["f1"]).value}, hurt=_DAMAGED)


def _damaged_alike(store: Store) -> None:
    """As `_alike`, and a bit is flipped in the pack with much that is dead; another such pack is whole."""
    _alike(store)
    with store.writing() as transaction:
        gone = stage(transaction, "gone6", {"x": noise(6, 1500)})
        stage(transaction, "e", tree(6, 2))
        transaction.commit()
    remove(store, "gone6", gone)
    _flip(store, {blake3_digest(tensor(0)["w.4"]).value}, hurt=frozenset({"c"}))


def _flip(store: Store, chunks: set[bytes], hurt: frozenset[str]) -> None:
    """Flip a bit of each, by which just these names suffer."""
    for digest in chunks:
        row = store.engine.ledger.rows.frame(FrameKind.CHUNK, digest)
        assert row is not None
        flip(Range(pack_path(store.layout.packs, row.pack), row.offset, row.offset + row.length), random.Random(1))
    with store.reading():
        assert {finding.name for finding in check(store.engine, data=True).findings} == hurt


def _put(path: Path, acknowledge: Acknowledge) -> None:
    with opened(path) as store:
        put(store, "new", tree(5, 2))
        acknowledge("new")


def _make(path: Path, acknowledge: Acknowledge) -> None:
    with opened(path, create=True) as store:
        put(store, "new", tree(5, 2))
        acknowledge("new")


def _remove(path: Path, acknowledge: Acknowledge) -> None:
    with opened(path) as store:
        with store.reading() as reader:
            (target,) = [ref.target for ref in reader.refs(RefKind.VERSION, "b")]
        remove(store, "b", target)
        acknowledge("b")


def _note_a_place(path: Path, _acknowledge: Acknowledge) -> None:
    """As a checkout does before it writes and after: the index alone changes."""
    with opened(path) as store:
        with store.reading() as reader:
            (target,) = [ref.target for ref in reader.refs(RefKind.VERSION, "a")]
        for saved_ns in (1, 2):
            files = {name: FileState(len(data), 1, 1, sha256_digest(data)) for name, data in tree(1, 3).items()}
            store.places.save(Place("/elsewhere", PlaceKind.CHECKOUT, "a", target, files, saved_ns))


def _put_many_packs(path: Path, acknowledge: Acknowledge) -> None:
    with opened(path) as store:
        put(store, "new", tree(5, 9))
        acknowledge("new")


def _pull(path: Path, acknowledge: Acknowledge) -> None:
    """As a long pull does: what is verified is kept, and the version comes last."""
    with opened(path) as store, store.writing() as transaction:
        files = tree(5, 5)
        for name, data in files.items():
            transaction.keep(transaction.add_bytes(data, name).info)
            transaction.commit()
        stage(transaction, "new", files)
        transaction.let_go()
        transaction.commit()
        acknowledge("new")


def _move_refs(path: Path, acknowledge: Acknowledge) -> None:
    with opened(path) as store:
        with store.reading() as reader:
            (target,) = [ref.target for ref in reader.refs(RefKind.VERSION, "a")]
        for key in (RefKey(RefKind.TAG, "a", "v1"), RefKey(RefKind.PIN, "a", target.hex)):
            with store.writing() as transaction:
                transaction.set_ref(key, target)
                transaction.commit()
        put(store, "new", tree(1, 3), created_ns=2)
        acknowledge("new")


def _collect(path: Path, _acknowledge: Acknowledge) -> None:
    with opened(path) as store:
        remove_leftovers(store.engine)
        gc.collect(store.engine)


def _compact(path: Path, _acknowledge: Acknowledge) -> None:
    with opened(path) as store:
        gc.collect(store.engine)
        done = compact(store.engine)
        assert (done.deltas, done.packs) == (1, 2)


def _put_and_collect(path: Path, acknowledge: Acknowledge) -> None:
    _put(path, acknowledge)
    _collect(path, acknowledge)


def _rebuild(path: Path, _acknowledge: Acknowledge) -> None:
    rebuild(Layout(path))


def _repair(path: Path, _acknowledge: Acknowledge) -> None:
    rebuild(Layout(path))
    with opened(path) as store, store.reading():
        assert not mend(store.engine).broken


def _heal_from_copies(path: Path, acknowledge: Acknowledge) -> None:
    heal(path)
    for name in _DAMAGED:
        acknowledge(name)


def heal(path: Path) -> None:
    """Repair, and take what is lost from copies of the base and of the chunk."""
    rebuild(Layout(path))
    with opened(path) as store, tempfile.TemporaryDirectory() as copies:
        with store.reading():
            mend(store.engine)
            lost = find_lost(store.engine)
        with store.writing() as transaction:
            healer = Healer(transaction, lost)
            for name, data in {**tensor(0), "f1": tree(2, 4)["f1"]}.items():
                copy = Path(copies) / name
                copy.write_bytes(data)
                healer.take(copy)
            transaction.commit()
            revive(store.engine)


def _compact_damaged(path: Path, _acknowledge: Acknowledge) -> None:
    with opened(path) as store:
        gc.collect(store.engine)
        done = compact(store.engine)
        assert (done.deltas, done.packs, done.damaged_packs) == (0, 2, 1)


def _begin_the_journal_anew(path: Path, acknowledge: Acknowledge) -> None:
    limits = ledger._REWRITE_BYTES, ledger._LINE_BYTES
    ledger._REWRITE_BYTES, ledger._LINE_BYTES = 500, 1
    try:
        _put(path, acknowledge)
    finally:
        ledger._REWRITE_BYTES, ledger._LINE_BYTES = limits


_BOTH = frozenset({"a", "b"})
_NEW = frozenset({"new"})
_DAMAGED = frozenset({"b", "c", "d"})

OPERATIONS = {
    "put": Operation(_two_versions, _put, _BOTH, _NEW),
    "put many packs": Operation(_two_versions, _put_many_packs, _BOTH, _NEW),
    "pull": Operation(_two_versions, _pull, _BOTH, _NEW),
    "move refs": Operation(_two_versions, _move_refs, _BOTH, _NEW),
    "gc": Operation(_removed, _collect, _BOTH),
    "put and gc": Operation(_removed, _put_and_collect, _BOTH, _NEW),
    "compact": Operation(_alike, _compact, _BOTH | {"c", "d"}),
    "rebuild": Operation(_removed, _rebuild, _BOTH),
    "begin the journal anew": Operation(_removed, _begin_the_journal_anew, _BOTH, _NEW),
    "make a store": Operation(None, _make, frozenset(), _NEW),
    "remove": Operation(_two_versions, _remove, frozenset({"a"}), goes=frozenset({"b"})),
    "clean up": Operation(_dead_writer, _collect, _BOTH),
    "heal": Operation(_hurt, _put, _BOTH, _NEW),
    "note a place": Operation(_two_versions, _note_a_place, _BOTH),
    "repair": Operation(_removed, _repair, _BOTH),
    "heal from copies": Operation(_damaged, _heal_from_copies, _BOTH | _DAMAGED, comes=_DAMAGED, hurt=_DAMAGED),
    "compact what is damaged": Operation(
        _damaged_alike, _compact_damaged, _BOTH | {"c", "d", "e"}, hurt=frozenset({"c"})
    ),
}

EXPECTED = {"a": tree(1, 3), "b": tree(2, 4), "c": tensor(0), "d": tensor(1e-5), "e": tree(6, 2)}
"""What the names hold that are never touched."""


def expected_new(operation: str) -> dict[str, bytes]:
    """What the version that an operation makes holds."""
    return {"put many packs": tree(5, 9), "pull": tree(5, 5), "move refs": tree(1, 3)}.get(operation, tree(5, 2))
