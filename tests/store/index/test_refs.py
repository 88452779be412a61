"""Refs and facts in the index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casstore.digests import blake3_digest
from casstore.errors import NeedsRepairError
from casstore.index.database import Database
from casstore.index.refs import Meta, RefRows
from casstore.journal import Position
from casstore.refs import Ref, RefKey, RefKind

ONE, TWO = blake3_digest(b"1"), blake3_digest(b"2")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "index")
    yield database
    database.close()


def test_set_moved_and_removed(database: Database) -> None:
    refs = RefRows(database)
    key = RefKey(RefKind.TAG, "org/name", "v1")
    assert refs.get(key) is None
    refs.put(key, ONE, 1)
    refs.put(key, TWO, 1)
    assert refs.get(key) == Ref(key, TWO, 1)
    refs.put(key, None, 1)
    assert refs.get(key) is None
    refs.put(key, None, 1)


def test_by_kind_and_name_in_the_order_in_which_they_were_made(database: Database) -> None:
    refs = RefRows(database)
    keys = [
        RefKey(RefKind.VERSION, "b", "1"),
        RefKey(RefKind.TAG, "a", "x"),
        RefKey(RefKind.VERSION, "a", "2"),
        RefKey(RefKind.PIN, "a", "2"),
    ]
    for key in keys:
        refs.put(key, ONE, refs.next_order())
    assert [ref.key for ref in refs.all()] == keys
    assert [ref.key for ref in refs.all(RefKind.VERSION)] == [keys[0], keys[2]]
    assert [ref.key for ref in refs.all(name="a")] == keys[1:]
    assert [ref.key for ref in refs.all(RefKind.PIN, "a")] == [keys[3]]
    assert refs.all(RefKind.PIN, "b") == []


@pytest.mark.parametrize(
    "column", ["kind = 'other'", "kind = x'00'", "name = x'ff'", "label = x'00'", "target = 'x'", "position = 'x'"]
)
def test_a_damaged_row_asks_for_a_repair(database: Database, column: str) -> None:
    rows = RefRows(database)
    rows.put(RefKey(RefKind.TAG, "name", "label"), blake3_digest(b"1"), 1)
    database.execute(f"UPDATE refs SET {column}")
    with pytest.raises(NeedsRepairError):
        rows.all()


@pytest.mark.parametrize(
    "damage",
    ["DELETE FROM meta WHERE key = 'journal.sequence'", "UPDATE meta SET value = 'x' WHERE key LIKE '%offset'"],
)
def test_half_a_position_asks_for_a_repair(database: Database, damage: str) -> None:
    meta = Meta(database)
    meta.set_position(Position("one", 2, 3, "four"))
    database.execute(damage)
    with pytest.raises(NeedsRepairError):
        _ = meta.position


def test_facts(database: Database) -> None:
    meta = Meta(database)
    assert meta.get("x") is None
    meta.put("x", "1")
    meta.put("x", "2")
    assert meta.get("x") == "2"
    meta.put("x", None)
    assert meta.get("x") is None
    assert meta.position is None
    position = Position("generation", 12, 3, "checksum")
    meta.set_position(position)
    assert meta.position == position
