"""The rows of refs, and the small facts about the store as a whole."""

from __future__ import annotations

from casstore.digests import Digest
from casstore.errors import InvalidInputError, NeedsRepairError
from casstore.index.database import Database
from casstore.journal import Position
from casstore.refs import Ref, RefKey, RefKind

_POSITION = ("generation", "offset", "sequence", "checksum")


class RefRows:
    """Look-ups and changes of the rows of refs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: RefKey) -> Ref | None:
        """The ref of that key. Raises NeedsRepairError for a row that nobody has written so."""
        found = self._database.execute(
            "SELECT kind, name, label, target, position FROM refs WHERE kind = ? AND name = ? AND label = ?",
            (key.kind, key.name, key.label),
        )
        return _ref(found[0]) if found else None

    def all(self, kind: RefKind | None = None, name: str | None = None) -> list[Ref]:
        """The refs of a kind, of a name, or both, in the order in which they were made.

        Raises NeedsRepairError for a row that nobody has written so.
        """
        rows = self._database.execute(
            "SELECT kind, name, label, target, position FROM refs "
            "WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR name = ?2) ORDER BY position, kind, name, label",
            (kind, name),
        )
        return [_ref(row) for row in rows]

    def count(self, kind: RefKind) -> tuple[int, int]:
        """How many names have a ref of a kind, and how many refs that is."""
        found = self._database.execute("SELECT count(DISTINCT name), count(*) FROM refs WHERE kind = ?", (kind,))
        return int(found[0][0]), int(found[0][1])

    def put(self, key: RefKey, target: Digest | None, order: int) -> None:
        """Set a ref; with None for its target, remove it."""
        if target is None:
            self._database.execute(
                "DELETE FROM refs WHERE kind = ? AND name = ? AND label = ?", (key.kind, key.name, key.label)
            )
        else:
            self._database.execute(
                "INSERT OR REPLACE INTO refs (kind, name, label, target, position) VALUES (?, ?, ?, ?, ?)",
                (key.kind, key.name, key.label, str(target), order),
            )

    def next_order(self) -> int:
        """The place of the next new ref."""
        ((highest,),) = self._database.execute("SELECT coalesce(max(position), 0) FROM refs")
        return int(highest) + 1


def _ref(row: tuple[object, ...]) -> Ref:
    kind, name, label, target, order = row
    try:
        if not (isinstance(name, str) and isinstance(label, str) and isinstance(order, int)):
            raise TypeError
        return Ref(RefKey(RefKind(str(kind)), name, label), Digest.parse(str(target)), order)
    except (TypeError, ValueError, InvalidInputError) as error:
        raise NeedsRepairError("the index is damaged where it holds refs") from error


class Meta:
    """Small facts by key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str) -> str | None:
        """The text kept under a key."""
        found = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,))
        return found[0][0] if found else None

    def put(self, key: str, value: str | None) -> None:
        """Keep a text; None drops it."""
        if value is None:
            self._database.execute("DELETE FROM meta WHERE key = ?", (key,))
        else:
            self._database.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    @property
    def position(self) -> Position | None:
        """How far into the journal the index is; None when it has read nothing.

        Raises NeedsRepairError where only a part of that is there.
        """
        rows = dict(self._database.execute("SELECT key, value FROM meta WHERE key LIKE 'journal.%'"))
        if not rows:
            return None
        try:
            generation, offset, sequence, checksum = (rows[f"journal.{field}"] for field in _POSITION)
            return Position(generation, int(offset), int(sequence), checksum)
        except (KeyError, TypeError, ValueError) as error:
            raise NeedsRepairError("the index is damaged where it notes how far it has come") from error

    def set_position(self, position: Position) -> None:
        """Remember how far into the journal the index is."""
        for field in _POSITION:
            self.put(f"journal.{field}", str(getattr(position, field)))
