"""Filling an empty index from packs, in a time that grows with their frames and no faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from casstore.index.database import Database
from casstore.index.order import temporary_table
from casstore.index.rows import Rows, blob_values, frame_values
from casstore.packs import SealedPack

_COLUMNS = "kind, digest, pack, offset, length, raw_length, codec, base, key, sketch"
_TABLE = "filling"


@contextmanager
def filling(rows: Rows) -> Iterator[Callable[[SealedPack], None]]:
    """Gives what takes in a pack, the oldest first; of two copies of a frame the newer counts.

    The frames are there when the block is left. They are gathered in a temporary table and entered in the order of
    their digests: one by one, each would change another page of a tree that has long outgrown the cache.
    """
    blobs: list[tuple[object, ...]] = []
    insert = f"INSERT INTO temp.{_TABLE} ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    database = rows.database

    def add(pack: SealedPack) -> None:
        database.execute_many(insert, frame_values(pack, rows.enter(pack)))
        blobs.extend(blob_values(pack))

    with temporary_table(database, _TABLE, f"({_COLUMNS})"):
        yield add
        with _without_indexes(database):
            database.execute(
                f"INSERT INTO main.frames ({_COLUMNS}, state) SELECT {_COLUMNS}, 0 "
                f"FROM (SELECT *, max(rowid) FROM temp.{_TABLE} GROUP BY kind, digest)"
            )
    rows.map_recipes(blobs)


@contextmanager
def _without_indexes(database: Database) -> Iterator[None]:
    """Make the indexes of the frames when all are there, which sorts them, too."""
    found = database.execute("SELECT name, sql FROM main.sqlite_master WHERE type = 'index' AND tbl_name = 'frames'")
    indexes = {name: statement for name, statement in found if statement is not None}
    for name in indexes:
        database.execute(f"DROP INDEX main.{name}")
    yield
    for statement in indexes.values():
        database.execute(statement)
