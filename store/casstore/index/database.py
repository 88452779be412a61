"""One SQLite connection for one process, shared by its threads."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from casstore import files
from casstore.errors import (
    BusyError,
    DiskError,
    FailedError,
    FullError,
    InvalidInputError,
    NeedsRepairError,
    NewerFormatError,
    NotWritableError,
    UnfitFileSystemError,
)
from casstore.index import schema

_WAIT_SECONDS = 60
_CACHE_KIB = 8192
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
"""The second where SQLite's file beside the log, which it maps into memory, finds no room."""


class Database:
    """Runs statements; gives SQLite's failures as the engine's errors."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with _explained(self._path):
            self._connection = sqlite3.connect(
                path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            try:
                self._set_up()
            except BaseException:
                self._connection.close()
                raise

    @classmethod
    def create(cls, path: Path) -> None:
        """Make an empty index, whole or not at all."""
        temporary = path.with_name(f"{path.name}.new")
        remove_database(temporary)
        with _explained(path):
            connection = sqlite3.connect(temporary, isolation_level=None)
            try:
                schema.create(connection)
            finally:
                connection.close()
        _sync(temporary)
        files.rename(temporary, path)
        files.sync_directory(path.parent)

    def execute(self, statement: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; gives all rows."""
        with self._lock, _explained(self._path):
            return self._connection.execute(statement, tuple(values)).fetchall()

    def execute_many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Run one statement for each row of values, in the transaction that is under way or in one for all of them.

        With one for each it takes three times as long, even where no more than a temporary table is changed.
        """
        with self._lock, _explained(self._path):
            if self._connection.in_transaction:
                self._connection.executemany(statement, rows)
                return
            self._connection.execute("BEGIN")
            with self._undone_if_it_fails():
                self._connection.executemany(statement, rows)
                self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """One write transaction, ``BEGIN IMMEDIATE`` to COMMIT; anything raised inside rolls it back."""
        with self._lock:
            self.execute("BEGIN IMMEDIATE")
            with self._undone_if_it_fails():
                yield
                files.announce("commit", self._path)
                self.execute("COMMIT")
                files.announce("committed", self._path)

    @contextlib.contextmanager
    def _undone_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
                    self._connection.execute("ROLLBACK")
            raise

    def is_sound(self) -> bool:
        """Whether its tables and indexes are in order, and values of the types declared, as far as can be told: SQLite
        keeps no checksums, and takes a value of any type in any column."""
        try:
            if self.execute("PRAGMA integrity_check(1)") != [("ok",)]:
                return False
            tables = self.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
            )
            return not any(self._has_mistyped(table) for (table,) in tables)
        except NeedsRepairError:
            return False

    def _has_mistyped(self, table: str) -> bool:
        wrong = []
        for _, name, kind, is_not_null, _, place_in_key in self.execute(f'PRAGMA table_info("{table}")'):
            kinds = f"'{kind.lower()}'" if is_not_null or place_in_key else f"'{kind.lower()}', 'null'"
            wrong.append(f'typeof("{name}") NOT IN ({kinds})')
        return bool(self.execute(f'SELECT 1 FROM "{table}" WHERE {" OR ".join(wrong)} LIMIT 1'))

    def checkpoint(self, limit_bytes: int) -> None:
        """Fold the write-ahead log into the file when it is larger than that; call it under the commit lock only."""
        # SQLite keeps it beside the file itself, to which the path may be a link.
        file = self._path.resolve()
        with contextlib.suppress(FileNotFoundError):
            if file.with_name(f"{file.name}-wal").stat().st_size > limit_bytes:
                self.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def _set_up(self) -> None:
        ((mode,),) = self._connection.execute("PRAGMA journal_mode=WAL")
        if mode != "wal":
            raise UnfitFileSystemError(
                f"SQLite cannot keep a write-ahead log at {self._path}", remedy="put the store on a local disk"
            )
        # FULL: with NORMAL a power cut loses commits that were acknowledged. Checkpoints are ours alone to make.
        for pragma in ("synchronous=FULL", "wal_autocheckpoint=0", f"cache_size=-{_CACHE_KIB}"):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        if sys.platform == "darwin":
            self._connection.execute("PRAGMA fullfsync=1")
            self._connection.execute("PRAGMA checkpoint_fullfsync=1")
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > schema.VERSION:
            raise NewerFormatError(f"the index {self._path} was written by a newer release", remedy="upgrade casmodels")
        if not version:
            schema.create(self._connection)
        elif version < schema.VERSION:
            schema.migrate(self._connection, version)


def replace_database(temporary: Path, path: Path) -> None:
    """Put a finished database in the place of another.

    It gets a name of its own, and ``path`` becomes a link to it: so at no moment does a database lie beside the log of
    another, which SQLite would play into it, and a kill leaves the old one or the new one, whole. Nor can a process
    that still has the old one open, such as an idle server, unlink the new one's log when it closes it (SQLite does
    that by name, and only newer releases look whether the database has moved).
    """
    target = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    link = path.with_name(f"{path.name}.link")
    _sync(temporary)
    files.rename(temporary, target)
    files.unlink(link)
    files.make_link(link, target.name)
    files.sync_directory(path.parent)
    files.rename(link, path)
    files.sync_directory(path.parent)
    for old in stale_databases(path):
        files.unlink(old)


def stale_databases(path: Path) -> list[Path]:
    """The files of databases that were to take the place of the one at ``path``, or had it before."""
    current = path.resolve().name
    kept = {path.name, *(f"{current}{suffix}" for suffix in ("", "-wal", "-shm"))}
    return [file for file in path.parent.glob(f"{path.name}*") if file.name not in kept]


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "full" in text or getattr(error, "sqlite_errorcode", None) in _NO_ROOM:
            raise FullError(
                f"the index {path} cannot grow: {text}", remedy="free some space, then run the same command again"
            ) from error
        if "disk I/O" in text:
            raise DiskError(f"the index {path} cannot be read or written: {text}") from error
        if "readonly" in text or "unable to open" in text:
            raise NotWritableError(
                f"the index {path} is not writable: {text}",
                remedy="check who owns it, how it is mounted, and how many files may be open (`ulimit -n`)",
            ) from error
        if "locked" in text or "busy" in text:
            raise BusyError(f"the index {path} is busy", remedy="try again") from error
        raise NeedsRepairError(f"the index {path} cannot be read: {text}") from error
    except sqlite3.ProgrammingError as error:
        raise FailedError(f"the index {path} cannot be used: {error}") from error
    except sqlite3.DatabaseError as error:
        raise NeedsRepairError(f"the index {path} is damaged: {error}") from error
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{error.object!r} is no text that can be looked up") from error
    except UnicodeDecodeError as error:
        # SQLite's message names what it stumbled over, and where that is no text Python fails to make the message.
        raise NeedsRepairError(f"the index {path} is damaged: it has names that are no text") from error


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        files.sync_file(file.fileno(), path)


def remove_database(path: Path) -> None:
    """Unlink a database and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        files.unlink(path.with_name(path.name + suffix))
