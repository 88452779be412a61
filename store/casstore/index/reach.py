"""The set of frames that are reached, kept in a temporary table so that its memory does not grow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import count, islice
from types import TracebackType

from casstore.frames import FrameKind
from casstore.index.database import Database
from casstore.index.order import frames_in_order
from casstore.index.rows import CONDEMNED, FrameRow

_BATCH = 4096
_RECENT = 1 << 16
"""About so many of the last names are remembered: neighbouring versions share most, and an insert takes longer."""
_UNSORTED = 1 << 20
"""So many names are put into the set at once, in their order: one by one, each would change another page of a tree that
has long outgrown the cache."""
_numbers = count()


class Reach:
    """Collects names of frames; what is not among them can then be condemned or counted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # The connection is shared by threads, and so are its temporary tables.
        self._table = f"reached_{next(_numbers)}"
        self._added = f"added_{self._table}"
        self._unsorted = 0
        self._recent: set[tuple[FrameKind, bytes]] = set()
        self._unreached = (
            f"NOT EXISTS (SELECT 1 FROM temp.{self._table} AS reached "
            "WHERE reached.kind = frames.kind AND reached.digest = frames.digest)"
        )

    def __enter__(self) -> Reach:
        self._database.execute(
            f"CREATE TEMP TABLE {self._table} (kind INTEGER, digest BLOB, PRIMARY KEY (kind, digest)) WITHOUT ROWID"
        )
        self._database.execute(f"CREATE TEMP TABLE {self._added} (kind INTEGER, digest BLOB)")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for table in (self._added, self._table):
            self._database.execute(f"DROP TABLE IF EXISTS temp.{table}")

    def add(self, names: Iterable[tuple[FrameKind, bytes]]) -> None:
        """These are reached."""
        iterator = (name for name in names if name not in self._recent)
        while batch := list(islice(iterator, _BATCH)):
            self._database.execute_many(f"INSERT INTO temp.{self._added} VALUES (?, ?)", batch)
            self._unsorted += len(batch)
            if self._unsorted >= _UNSORTED:
                self._sort()
            if len(self._recent) > _RECENT:
                self._recent.clear()
            self._recent.update(batch)

    def _sort(self) -> None:
        """Take what was added into the set; whoever asks what is in it comes here first."""
        if self._unsorted:
            self._database.execute(
                f"INSERT OR IGNORE INTO temp.{self._table} SELECT * FROM temp.{self._added} ORDER BY kind, digest"
            )
            self._database.execute(f"DELETE FROM temp.{self._added}")
            self._unsorted = 0

    def unknown(self) -> int:
        """How many of what is reached have no row, or lie in no pack that counts."""
        self._sort()
        ((count,),) = self._database.execute(
            f"SELECT count(*) FROM temp.{self._table} AS reached WHERE NOT EXISTS (SELECT 1 FROM frames JOIN packs "
            "ON packs.number = frames.pack WHERE frames.kind = reached.kind AND frames.digest = reached.digest)"
        )
        return int(count)

    def condemn_the_rest(self) -> None:
        """Mark what is not reached; damaged frames that nobody needs too."""
        self._sort()
        self._database.execute(
            f"UPDATE frames SET state = state + {CONDEMNED} WHERE state < {CONDEMNED} AND {self._unreached}"
        )

    def __contains__(self, name: tuple[FrameKind, bytes]) -> bool:
        self._sort()
        return bool(self._database.execute(f"SELECT 1 FROM temp.{self._table} WHERE kind = ? AND digest = ?", name))

    def frames(self) -> AbstractContextManager[Iterator[FrameRow]]:
        """What is reached and may be read, as it lies on the disk."""
        self._sort()
        source = f"temp.{self._table} CROSS JOIN frames USING (kind, digest) JOIN packs ON number = pack WHERE true"
        return frames_in_order(self._database, source)

    def stored_bytes(self) -> int:
        """The length of all frames that are reached and may be read."""
        self._sort()
        ((length,),) = self._database.execute(
            f"SELECT coalesce(sum(frames.length), 0) FROM temp.{self._table} AS reached CROSS JOIN frames "
            f"ON frames.kind = reached.kind AND frames.digest = reached.digest WHERE state NOT IN (1, 5)"
        )
        return int(length)

    def by_codec(self) -> list[tuple[int, int, int, int]]:
        """Of the chunks that are reached, for each codec: its number, chunks, bytes before encoding and of frames."""
        self._sort()
        return self._database.execute(
            "SELECT codec, count(*), sum(raw_length), sum(length) "
            f"FROM temp.{self._table} AS reached CROSS JOIN frames "
            "ON frames.kind = reached.kind AND frames.digest = reached.digest "
            f"WHERE frames.kind = {FrameKind.CHUNK:d} AND state NOT IN (1, 5) GROUP BY codec ORDER BY codec"
        )

    def unreached_chunks(self) -> int:
        """How many chunks are not reached."""
        self._sort()
        ((count,),) = self._database.execute(f"SELECT count(*) FROM frames WHERE kind = 1 AND {self._unreached}")
        return int(count)

    def dead_packs(self) -> list[tuple[bytes, int]]:
        """The packs (id, size in bytes) in which nothing is reached."""
        self._sort()
        return self._database.execute(
            "SELECT id, size_bytes FROM packs WHERE number NOT IN "
            f"(SELECT DISTINCT pack FROM frames WHERE NOT {self._unreached})"
        )
