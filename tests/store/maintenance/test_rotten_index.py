"""An index in which something has gone bad, though SQLite reads it: nothing is dropped by it, and a repair brings all
back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from casstore.errors import NeedsRepairError, NotFoundError
from casstore.maintenance import gc
from casstore.maintenance.compact import compact
from casstore.maintenance.repair import rebuild
from casstore.maintenance.verify import check
from casstore.packs import list_packs
from casstore.store import Store
from casstore.testing.builders import GRID_BYTES, all_contents, noise, put, remove

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
    "UPDATE blobs SET sha256 = substr(sha256, 1, 31) || x'00'",
    "UPDATE blobs SET recipe = substr(recipe, 1, 31) || x'00'",
    "UPDATE frames SET digest = substr(digest, 1, 31) || x'00' WHERE rowid_of_chunk",
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


def test_what_a_repair_knows_to_be_lost_keeps_no_gc_from_its_work(filled: Store, opened: Opener) -> None:
    lost = filled.layout.packs / f"{filled.engine.ledger.rows.pack_ids_in_order()[0].hex()}.pack"
    filled.close()
    lost.unlink()
    rebuild(filled.layout)
    store = opened()
    assert store.engine.ledger.rows.any_damaged()
    gc.collect(store.engine)
    compact(store.engine)
    with store.reading():
        damaged = {finding.name for finding in check(store.engine, data=True).findings}
    assert damaged == {"a"}


def test_values_of_other_types_are_a_damaged_index(filled: Store, opened: Opener) -> None:
    harm(filled, "UPDATE packs SET id = 5 WHERE number = 1")
    store = opened()
    with pytest.raises(NeedsRepairError, match="is damaged") as raised, store.reading():
        check(store.engine)
    assert isinstance(raised.value.__cause__, AttributeError)


def test_what_is_wrong_with_a_program_is_not_the_indexs_fault(filled: Store) -> None:
    with pytest.raises(TypeError, match="its own"), filled.reading():
        raise TypeError("its own")
    with pytest.raises(NotFoundError), filled.reading():
        raise NotFoundError("none")
