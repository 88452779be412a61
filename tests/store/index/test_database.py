"""The database: SQLite's failures as the engine's errors, and replacing it under those who have it open."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from casstore import files
from casstore.errors import (
    BusyError,
    DiskError,
    FullError,
    NeedsRepairError,
    NewerFormatError,
    NotWritableError,
    StoreError,
    UnfitFileSystemError,
)
from casstore.index import database as module
from casstore.index import schema
from casstore.index.database import Database, remove_database, replace_database, stale_databases


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "index.sqlite3"
    Database.create(path)
    return path


def test_created_with_the_tables_of_this_release_and_nothing_else(path: Path) -> None:
    database = Database(path)
    names = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"meta", "packs", "frames", "blobs", "refs", "places"} <= names
    assert database.execute("PRAGMA user_version") == [(schema.VERSION,)]
    assert database.execute("PRAGMA journal_mode") == [("wal",)]
    assert database.execute("PRAGMA synchronous") == [(2,)]  # FULL
    assert database.execute("PRAGMA wal_autocheckpoint") == [(0,)]
    database.close()
    assert {file.name for file in path.parent.iterdir()} == {path.name}


def test_writing_rolls_back(path: Path) -> None:
    database = Database(path)
    with contextlib.suppress(LookupError), database.writing():
        database.execute("INSERT INTO meta VALUES ('a', 'b')")
        raise LookupError
    assert database.execute("SELECT * FROM meta") == []
    with database.writing():
        database.execute_many("INSERT INTO meta VALUES (?, ?)", [("a", "b"), ("c", "d")])
    assert len(database.execute("SELECT * FROM meta")) == 2
    database.close()


def test_many_rows_are_put_in_all_or_none(path: Path) -> None:
    database = Database(path)
    with pytest.raises(StoreError):
        database.execute_many("INSERT INTO meta VALUES (?, ?)", [("a", "1"), ("a", "2")])
    assert database.execute("SELECT * FROM meta") == []
    with database.writing():
        database.execute_many("INSERT INTO meta VALUES (?, ?)", [("a", "1")])
    assert database.execute("SELECT * FROM meta") == [("a", "1")]
    database.close()


def test_an_index_of_the_first_release_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite3"
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in schema._statements(schema._STEPS[0]):
        connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('a', 'b')")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    database = Database(path)
    assert database.execute("SELECT * FROM meta") == [("a", "b")]
    assert database.execute("SELECT key, sketch FROM frames") == []
    assert database.execute("PRAGMA user_version") == [(schema.VERSION,)]
    database.close()
    Database(path).close()


def test_a_newer_index(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    with pytest.raises(NewerFormatError):
        Database(path)


@pytest.mark.parametrize("data", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(NeedsRepairError):
        Database(path)


def test_a_name_that_is_no_text(path: Path) -> None:
    """SQLite's message has the name in it, which Python cannot decode."""
    whole = path.read_bytes()
    torn = whole.replace(b"tableframesframes", b"tableframe\xa0frame\xa0")
    assert torn != whole
    path.write_bytes(torn)
    with pytest.raises(NeedsRepairError, match="damaged: it has names that are no text"):
        Database(path)


def test_a_page_that_is_damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    database = Database(path)
    with pytest.raises(NeedsRepairError, match="malformed"):
        database.execute("SELECT * FROM frames WHERE kind = 1")
    database.close()


def test_somebody_else_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.01)
    one, other = Database(path), Database(path)
    with one.writing(), pytest.raises(BusyError), other.writing():
        pass
    with other.writing():
        pass
    one.close()
    other.close()


def test_a_full_disk(path: Path) -> None:
    database = Database(path)
    ((pages,),) = database.execute("PRAGMA page_count")
    database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(FullError), database.writing():
        database.execute_many("INSERT INTO meta VALUES (?, ?)", ((str(number), "x" * 1000) for number in range(100)))
    assert database.execute("SELECT * FROM meta") == []
    database.close()


@pytest.mark.parametrize(
    ("code", "expected"),
    [(sqlite3.SQLITE_IOERR_SHMSIZE, FullError), (sqlite3.SQLITE_IOERR_WRITE, DiskError)],
)
def test_an_input_output_error_is_no_full_disk_but_where_the_shared_memory_finds_no_room(
    path: Path, code: int, expected: type[StoreError]
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    with pytest.raises(expected, match="disk I/O error"), module._explained(path):
        raise error


def test_a_disk_that_is_full_before_there_is_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cramped(*arguments: object, real: Any = sqlite3.connect, **options: object) -> Any:
        connection = real(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 2")
        return connection

    monkeypatch.setattr(sqlite3, "connect", cramped)
    with pytest.raises(FullError):
        Database.create(tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_read_only_database(path: Path) -> None:
    database = Database(path)
    database.execute("PRAGMA query_only = 1")
    with pytest.raises(NotWritableError):
        database.execute("INSERT INTO meta VALUES ('a', 'b')")
    database.close()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotWritableError):
        Database(tmp_path / "nowhere" / "index")


def test_a_file_system_without_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database in memory is one that SQLite refuses a write-ahead log, as it does on some network file systems."""
    monkeypatch.setattr(module.sqlite3, "connect", lambda *_a, real=sqlite3.connect, **_k: real(":memory:"))
    with pytest.raises(UnfitFileSystemError):
        Database(tmp_path / "index")


@pytest.mark.parametrize("is_rebuilt", [False, True])
def test_the_log_is_folded_in_when_it_has_grown(path: Path, is_rebuilt: bool) -> None:
    if is_rebuilt:
        temporary = path.with_name("rebuilt")
        Database.create(temporary)
        replace_database(temporary, path)
    file = path.resolve()
    log = file.with_name(f"{file.name}-wal")
    database = Database(path)
    with database.writing():
        database.execute("INSERT INTO meta VALUES ('a', ?)", ("x" * 50_000,))
    database.checkpoint(100_000)
    assert log.stat().st_size > 50_000
    database.checkpoint(10_000)
    assert log.stat().st_size == 0
    database.close()
    remove_database(file)
    remove_database(path)
    assert list(path.parent.iterdir()) == []


def fill(path: Path, value: str) -> None:
    database = Database(path)
    with database.writing():
        database.execute("INSERT OR REPLACE INTO meta VALUES ('key', ?)", (value,))
    database.close()


def value_of(path: Path) -> str:
    database = Database(path)
    ((value,),) = database.execute("SELECT value FROM meta WHERE key = 'key'")
    database.close()
    return str(value)


_WRITE_AND_DIE = """
import os, sys
from pathlib import Path
from casstore.index.database import Database
database = Database(Path(sys.argv[1]))
with database.writing():
    database.execute("INSERT OR REPLACE INTO meta VALUES ('key', 'in the log')")
os._exit(0)
"""


def test_whoever_has_the_old_one_open_cannot_harm_the_new_one(path: Path) -> None:
    """SQLite unlinks a log by its name when the last connection closes, and plays into a database any log beside it."""
    fill(path, "old")
    idle = Database(path)
    assert idle.execute("SELECT value FROM meta WHERE key = 'key'") == [("old",)]
    for _ in range(2):
        temporary = path.with_name("rebuilt")
        Database.create(temporary)
        fill(temporary, "new")
        replace_database(temporary, path)
        assert value_of(path) == "new"
        subprocess.run([sys.executable, "-c", _WRITE_AND_DIE, str(path)], check=True)
        idle.close()
        assert value_of(path) == "in the log"
        idle = Database(path)
    idle.close()
    current = os.readlink(path)  # noqa: PTH115
    assert {file.name for file in path.parent.iterdir()} == {path.name, current}


def test_what_a_replacement_cut_short_left_is_known(path: Path) -> None:
    temporary = path.with_name("rebuilt")
    Database.create(temporary)
    replace_database(temporary, path)
    kept = set(path.parent.iterdir())
    fill(path, "x")
    stale = {path.with_name(f"{path.name}{suffix}") for suffix in (".rebuilt", ".rebuilt-wal", "-wal", ".0badc0de")}
    for file in stale:
        file.write_bytes(b"")
    connection = Database(path)
    connection.execute("SELECT * FROM meta")
    assert set(stale_databases(path)) == stale
    connection.close()
    for file in stale:
        file.unlink()
    assert set(path.parent.iterdir()) == kept


@pytest.mark.parametrize("at", range(6))
def test_a_replacement_that_is_cut_short_leaves_the_old_one_or_the_new_one(path: Path, at: int) -> None:
    fill(path, "old")
    temporary = path.with_name("rebuilt")
    Database.create(temporary)
    fill(temporary, "new")
    calls = 0

    def stop(operation: str, _path: str) -> None:
        nonlocal calls
        calls += 1
        if calls > at:
            raise KeyboardInterrupt

    before = files.set_hook(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            replace_database(temporary, path)
    finally:
        files.set_hook(before)
    assert value_of(path) == "old"
    if not temporary.exists():
        Database.create(temporary)
        fill(temporary, "new")
    replace_database(temporary, path)
    assert value_of(path) == "new"
