"""Chunks stored whole that may be like each other. What grows with the store is kept in temporary tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from casstore.index.database import Database
from casstore.index.order import rows_in_order, temporary_table
from casstore.index.rows import Candidate, Rows

_numbers = count()


@dataclass(frozen=True, slots=True)
class Alike:
    """Whole chunks of one similarity key, the oldest first, and which of them others are stored against."""

    key: bytes
    chunks: tuple[Candidate, ...]
    bases: frozenset[bytes]


@contextmanager
def whole_chunks_alike(rows: Rows, most: int) -> Iterator[Iterator[Alike]]:
    """For each key of which several live chunks are stored whole, the newest of them, ``most`` at most.

    The keys, and what counts as a base, are as when the block was entered.
    """
    database, number = rows.database, next(_numbers)
    keys, bases = f"keys_{number}", f"bases_{number}"
    # Not by the index of the keys, from which every chunk would have to be looked up in the table itself.
    several = (
        "SELECT key FROM frames NOT INDEXED WHERE key IS NOT NULL AND state = 0 AND base IS NULL "
        "GROUP BY key HAVING count(*) > 1"
    )
    with (
        temporary_table(database, keys, f"AS {several}"),
        temporary_table(database, bases, "(digest BLOB PRIMARY KEY) WITHOUT ROWID"),
    ):
        database.execute(
            f"INSERT INTO temp.{bases} SELECT DISTINCT base FROM frames WHERE base IS NOT NULL ORDER BY base"
        )
        yield _alike(rows, keys, bases, most)


def _alike(rows: Rows, keys: str, bases: str, most: int) -> Iterator[Alike]:
    for (key,) in rows_in_order(rows.database, keys):
        chunks = tuple(candidate for candidate in reversed(rows.similar(key, most)) if candidate.is_whole)
        yield Alike(key, chunks, _among(rows.database, bases, [chunk.digest for chunk in chunks]))


def _among(database: Database, table: str, digests: list[bytes]) -> frozenset[bytes]:
    found = database.execute(
        f"SELECT digest FROM temp.{table} WHERE digest IN ({', '.join('?' * len(digests))})", digests
    )
    return frozenset(digest for (digest,) in found)
