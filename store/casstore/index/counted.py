"""Chunks, and how many need each, kept in a temporary table so that its memory does not grow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count, islice

from casstore.frames import FrameKind
from casstore.index.database import Database
from casstore.index.order import temporary_table

_BATCH = 500
"""So many in one statement: older releases of SQLite take 999 values."""
_numbers = count()


@contextmanager
def counted_chunks(database: Database) -> Iterator[CountedChunks]:
    """None at first."""
    table = f"counted_{next(_numbers)}"
    columns = "(digest BLOB PRIMARY KEY, length INTEGER, base BLOB, uses INTEGER) WITHOUT ROWID"
    with temporary_table(database, table, columns):
        yield CountedChunks(database, f"temp.{table}")


class CountedChunks:
    """Chunks that are needed; what one is stored against is needed once more for that."""

    def __init__(self, database: Database, table: str) -> None:
        self._database = database
        self._table = table
        self.stored_bytes = 0
        """The length of their frames, each once; those that cannot be read have none."""

    def add(self, chunks: Iterable[bytes]) -> None:
        """These are needed, or needed once more."""
        statement = (
            f"INSERT INTO {self._table} SELECT digest, length, base, ?2 FROM frames "
            f"WHERE kind = {FrameKind.CHUNK:d} AND digest = ?1 AND state NOT IN (1, 5) "
            "ON CONFLICT (digest) DO UPDATE SET uses = uses + ?2"
        )
        for batch in _batches(chunks):
            self._database.execute_many(statement, batch.items())
            found = self._counts(batch)
            fresh = [(length, base) for digest, length, base, uses in found if uses == batch[digest]]
            self.stored_bytes += sum(length for length, _ in fresh)
            self.add(base for _, base in fresh if base is not None)

    def take_away(self, chunks: Iterable[bytes]) -> None:
        """These were added before and are needed once less."""
        for batch in _batches(chunks):
            self._database.execute_many(f"UPDATE {self._table} SET uses = uses - ?2 WHERE digest = ?1", batch.items())
            gone = [(digest, length, base) for digest, length, base, uses in self._counts(batch) if uses <= 0]
            self._database.execute_many(f"DELETE FROM {self._table} WHERE digest = ?", ((row[0],) for row in gone))
            self.stored_bytes -= sum(length for _, length, _ in gone)
            self.take_away(base for _, _, base in gone if base is not None)

    def clear(self) -> None:
        """None is needed."""
        self._database.execute(f"DELETE FROM {self._table}")
        self.stored_bytes = 0

    def _counts(self, batch: Counter[bytes]) -> list[tuple[bytes, int, bytes | None, int]]:
        return self._database.execute(
            f"SELECT digest, length, base, uses FROM {self._table} WHERE digest IN ({', '.join('?' * len(batch))})",
            batch,
        )


def _batches(chunks: Iterable[bytes]) -> Iterator[Counter[bytes]]:
    iterator = iter(chunks)
    while batch := Counter(islice(iterator, _BATCH)):
        yield batch
