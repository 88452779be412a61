"""The set of frames that are reached, kept in a temporary table so that its memory does not grow."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from types import TracebackType

from casstore.frames import FrameKind
from casstore.index.database import Database

_BATCH = 4096


class Reach:
    """Collects names of frames; what is not among them can then be condemned or counted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> Reach:
        self._database.execute("DROP TABLE IF EXISTS temp.reached")
        self._database.execute(
            "CREATE TEMP TABLE reached (kind INTEGER, digest BLOB, PRIMARY KEY (kind, digest)) WITHOUT ROWID"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.execute("DROP TABLE IF EXISTS temp.reached")

    def add(self, names: Iterable[tuple[FrameKind, bytes]]) -> None:
        """These are reached."""
        iterator = iter(names)
        while batch := list(islice(iterator, _BATCH)):
            self._database.execute_many("INSERT OR IGNORE INTO temp.reached VALUES (?, ?)", batch)

    def condemn_the_rest(self) -> None:
        """Mark what is not reached; damaged frames that nobody needs too."""
        self._database.execute(f"UPDATE frames SET state = 1 WHERE state != 1 AND {_UNREACHED}")

    def unreached_chunks(self) -> int:
        """How many chunks are not reached."""
        ((count,),) = self._database.execute(f"SELECT count(*) FROM frames WHERE kind = 1 AND {_UNREACHED}")
        return int(count)

    def dead_packs(self) -> list[tuple[bytes, int]]:
        """The packs (id, size in bytes) in which nothing is reached."""
        return self._database.execute(
            "SELECT id, size_bytes FROM packs WHERE number NOT IN "
            f"(SELECT DISTINCT pack FROM frames WHERE NOT {_UNREACHED})"
        )


_UNREACHED = (
    "NOT EXISTS (SELECT 1 FROM temp.reached WHERE reached.kind = frames.kind AND reached.digest = frames.digest)"
)
