"""An index in which something has gone bad, though SQLite reads it: nothing is dropped by it, and a repair brings all
back."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from casstore.digests import sha256_digest
from casstore.errors import BusyError, InvalidInputError, NeedsRepairError, NotFoundError
from casstore.frames import FrameKind
from casstore.leases import Lease
from casstore.maintenance import gc, needed
from casstore.maintenance.compact import compact
from casstore.maintenance.repair import mend, rebuild
from casstore.maintenance.verify import check
from casstore.packs import list_packs, pack_path
from casstore.store import Store
from casstore.testing.builders import GRID_BYTES, all_contents, noise, put, remove
from casstore.testing.damage import Range, flip

Opener = Callable[..., Store]
DATA = noise(1, 3 * GRID_BYTES)
OTHER = noise(2, 3 * GRID_BYTES)
SHARED = noise(3, GRID_BYTES)

LOST = [
    "DELETE FROM frames WHERE kind = 1",
    "DELETE FROM frames WHERE rowid_of_chunk",
    "DELETE FROM frames WHERE kind = 2",
    "DELETE FROM frames WHERE kind = 3",
    "DELETE FROM frames WHERE kind = 4",
    "DELETE FROM blobs",
    "UPDATE blobs SET sha256 = CAST(substr(sha256, 1, 31) || x'00' AS BLOB)",
    "UPDATE blobs SET recipe = CAST(substr(recipe, 1, 31) || x'00' AS BLOB)",
    "UPDATE frames SET digest = CAST(substr(digest, 1, 31) || x'00' AS BLOB) WHERE rowid_of_chunk",
    "UPDATE frames SET base = zeroblob(32) WHERE rowid_of_chunk",
    "UPDATE frames SET pack = 1000 WHERE rowid_of_chunk",
    "DELETE FROM refs WHERE kind = 'version'",
    "UPDATE refs SET target = (SELECT min(target) FROM refs)",
    "DELETE FROM packs WHERE number = 1",
    "UPDATE packs SET id = zeroblob(16) WHERE number = 1",
    "UPDATE packs SET id = 5 WHERE number = 1",
    "UPDATE frames SET state = 'none' WHERE kind = 2",
]
_CHUNK = "kind = 1 AND digest = (SELECT max(digest) FROM frames WHERE kind = 1)"


def harm(store: Store, statement: str) -> None:
    """Change the index behind the store's back."""
    store.close()
    with sqlite3.connect(store.layout.index) as connection:
        assert connection.execute(statement.replace("rowid_of_chunk", _CHUNK)).rowcount > 0
    connection.close()


@pytest.fixture
def filled(small_packs: Store, opened: Opener) -> Store:
    """Two versions, and something for gc to drop."""
    put(small_packs, "a", {"a": DATA})
    put(small_packs, "b", {"b": OTHER, "s": SHARED})
    remove(small_packs, "c", put(small_packs, "c", {"c": noise(4, 3 * GRID_BYTES)}))
    return small_packs


@pytest.mark.parametrize("work", [gc.collect, compact])
@pytest.mark.parametrize("statement", LOST)
def test_nothing_is_dropped_by_it(filled: Store, opened: Opener, statement: str, work: Callable[..., object]) -> None:
    whole, packs = all_contents(filled), set(list_packs(filled.layout.packs))
    harm(filled, statement)
    with Store.open(filled.path) as rotten, pytest.raises(NeedsRepairError, match="the index of") as raised:
        work(rotten.engine)
    assert raised.value.remedy == "run `casmodels repair`"
    assert set(list_packs(filled.layout.packs)) == packs
    rebuild(filled.layout)
    healed = opened()
    assert all_contents(healed) == whole
    gc.collect(healed.engine)
    compact(healed.engine)
    assert all_contents(healed) == whole
    with healed.reading():
        assert not check(healed.engine, data=True).findings


def test_a_pack_that_only_the_index_thinks_empty_stays(filled: Store, opened: Opener) -> None:
    """All rows of one pack say that they lie in another, where other frames are."""
    whole, packs = all_contents(filled), set(list_packs(filled.layout.packs))
    harm(filled, "UPDATE frames SET pack = (SELECT max(number) FROM packs) WHERE pack = 1 AND kind = 1")
    with Store.open(filled.path) as rotten:
        for work in (gc.collect, compact, gc.collect):
            with pytest.raises(NeedsRepairError, match=r"does not say where chunk [0-9a-f]{64} is"):
                work(rotten.engine)
    assert packs <= set(list_packs(filled.layout.packs))
    rebuild(filled.layout)
    assert all_contents(opened()) == whole


def repaired(store: Store, opened: Opener) -> Store:
    store.close()
    rebuild(store.layout)
    again = opened(pack_bytes=10_000)
    with again.reading():
        mend(again.engine)
    return again


def spoil(store: Store, kind: FrameKind, digest: bytes) -> None:
    row = store.engine.ledger.rows.frame(kind, digest)
    assert row is not None
    flip(Range(pack_path(store.layout.packs, row.pack), row.offset, row.offset + row.length), random.Random(1))


def lose_a_pack(store: Store) -> None:
    (store.layout.packs / f"{store.engine.ledger.rows.pack_ids_in_order()[0].hex()}.pack").unlink()


def spoil_a_recipe(store: Store) -> None:
    with store.reading() as reader:
        info = reader.find_blob(sha256_digest(DATA))
    assert info is not None
    spoil(store, FrameKind.RECIPE, info.recipe.value)


def spoil_a_chunk(store: Store) -> None:
    with store.reading() as reader:
        info = reader.find_blob(sha256_digest(DATA))
        assert info is not None
        spoil(store, FrameKind.CHUNK, reader.recipe(info.recipe).parts[0].chunk)


LOSSES = [lose_a_pack, spoil_a_recipe, spoil_a_chunk]


@pytest.mark.parametrize("lose", LOSSES)
def test_what_a_repair_knows_to_be_lost_keeps_no_gc_from_its_work(
    filled: Store, opened: Opener, lose: Callable[[Store], None]
) -> None:
    lose(filled)
    store = repaired(filled, opened)
    for _ in range(2):
        gc.collect(store.engine)
        compact(store.engine)
        gc.collect(store.engine)
        with store.reading():
            assert {finding.name for finding in check(store.engine, data=True).findings} == {"a"}
        store = repaired(store, opened)
    put(store, "a", {"a": DATA})
    store = repaired(store, opened)
    assert store.engine.ledger.meta.get("repair.missing") is None
    gc.collect(store.engine)
    assert sorted(all_contents(store).values(), key=len) == [{"a": DATA}, {"b": OTHER, "s": SHARED}]


@pytest.mark.parametrize("lose", LOSSES)
def test_what_is_lost_does_not_hide_what_is_not_known(
    filled: Store, opened: Opener, lose: Callable[[Store], None]
) -> None:
    lose(filled)
    store = repaired(filled, opened)
    rotten_recipe = "UPDATE blobs SET recipe = CAST(substr(recipe, 1, 31) || x'00' AS BLOB)"
    harm(store, f"{rotten_recipe} WHERE sha256 = x'{sha256_digest(OTHER).hex}'")
    with Store.open(store.path) as rotten:
        for work in (gc.collect, compact):
            with pytest.raises(NeedsRepairError, match="does not know all that versions need"):
                work(rotten.engine)
    with repaired(store, opened).reading() as reader:
        assert reader.find_blob(sha256_digest(OTHER)) is not None


def test_a_dead_pack_that_cannot_be_read_goes(filled: Store, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: Path) -> object:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(needed, "read_frames", failing)
    assert gc.collect(filled.engine).packs > 0


def test_a_note_of_a_gc_that_is_none(filled: Store) -> None:
    lease = Lease.take(filled.layout.leases)
    with pytest.raises(BusyError):
        gc.collect(filled.engine, wait_seconds=0.05)
    lease.release()
    harm(filled, "UPDATE meta SET value = '[\"' WHERE key = 'gc.leases'")
    with Store.open(filled.path) as rotten, pytest.raises(NeedsRepairError, match="is damaged"):
        gc.collect(rotten.engine)


def test_values_of_other_types_are_a_damaged_index(filled: Store, opened: Opener) -> None:
    harm(filled, "UPDATE packs SET id = 5 WHERE number = 1")
    store = opened()
    with pytest.raises(NeedsRepairError, match="is damaged") as raised, store.reading():
        check(store.engine)
    assert isinstance(raised.value.__cause__, AttributeError)


def test_what_is_wrong_with_a_program_is_not_the_indexs_fault(filled: Store) -> None:
    harm(filled, "UPDATE packs SET id = 5 WHERE number = 1")
    with pytest.raises(TypeError, match="its own"), filled.reading():
        raise TypeError("its own")
    with pytest.raises(NotFoundError), filled.reading():
        raise NotFoundError("none")


def test_a_name_that_is_no_text(filled: Store) -> None:
    with pytest.raises(InvalidInputError, match="is no text that can be looked up"), filled.reading():
        filled.engine.ledger.database.execute("SELECT 1 FROM refs WHERE name = ?", ("\udcff",))
