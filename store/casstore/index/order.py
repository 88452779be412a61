"""Frames as they lie on the disk, pack by pack. The order is kept in a temporary table, so that memory does not grow:
one pass over the index and a sort, whatever the number of packs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from casstore.frames import FrameKind
from casstore.index.database import Database
from casstore.index.rows import FrameRow

_BATCH = 4096
_numbers = count()


@contextmanager
def frames_in_packs(database: Database, pack_ids: Iterable[bytes]) -> Iterator[Iterator[FrameRow]]:
    """The readable frames that live in these packs."""
    chosen = f"chosen_{next(_numbers)}"
    with temporary_table(database, chosen, "(id BLOB PRIMARY KEY) WITHOUT ROWID"):
        database.execute_many(f"INSERT OR IGNORE INTO temp.{chosen} VALUES (?)", ((pack_id,) for pack_id in pack_ids))
        with frames_in_order(database, f"frames JOIN packs ON number = pack WHERE id IN temp.{chosen}") as frames:
            yield frames


@contextmanager
def frames_to_verify(database: Database, before_ns: int) -> Iterator[Iterator[FrameRow]]:
    """The readable frames in packs that no full check has read since that time."""
    source = "frames JOIN packs ON number = pack WHERE verified_ns < ?"
    with frames_in_order(database, source, (before_ns,)) as frames:
        yield frames


@contextmanager
def frames_in_order(database: Database, source: str, values: Iterable[Any] = ()) -> Iterator[Iterator[FrameRow]]:
    """The readable frames among those that ``source``, what follows FROM, gives of the tables frames and packs."""
    table = f"ordered_{next(_numbers)}"
    columns = "kind, digest, id, offset, length, raw_length, codec, base"
    query = f"SELECT {columns} FROM {source} AND state NOT IN (1, 5) ORDER BY pack, offset"
    with temporary_table(database, table, f"AS {query}", values):
        yield (FrameRow(FrameKind(kind), *where) for kind, *where in rows_in_order(database, table))


@contextmanager
def temporary_table(database: Database, name: str, definition: str, values: Iterable[Any] = ()) -> Iterator[None]:
    """A table that only this connection sees; its pages go to a file when they are many."""
    database.execute(f"CREATE TEMP TABLE {name} {definition}", values)
    try:
        yield
    finally:
        database.execute(f"DROP TABLE temp.{name}")


def rows_in_order(database: Database, table: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a temporary table as they were put in, some at a time; others may use the database in between."""
    last = 0
    query = f"SELECT rowid, * FROM temp.{table} WHERE rowid > ? ORDER BY rowid LIMIT {_BATCH}"
    while rows := database.execute(query, (last,)):
        for _, *row in rows:
            yield tuple(row)
        last = rows[-1][0]
