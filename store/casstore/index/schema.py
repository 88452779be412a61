"""The index's tables. FORMAT.md, "Index", describes them; the database may be thrown away and rebuilt.

sqlite-utils runs the migrations and is imported only for that (0.13 s).
"""

from __future__ import annotations

import sqlite3
from typing import Any

VERSION = 2
"""Kept in ``PRAGMA user_version``: the number of migrations below."""

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE packs (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    size_bytes INTEGER NOT NULL,
    verified_ns INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE frames (
    kind INTEGER NOT NULL,
    digest BLOB NOT NULL,
    pack INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    raw_length INTEGER NOT NULL,
    codec INTEGER NOT NULL,
    state INTEGER NOT NULL,
    base BLOB,
    PRIMARY KEY (kind, digest)
) WITHOUT ROWID;
CREATE INDEX frames_not_live ON frames (state) WHERE state != 0;
CREATE TABLE blobs (
    sha256 BLOB PRIMARY KEY,
    recipe BLOB NOT NULL,
    size_bytes INTEGER NOT NULL,
    git BLOB
) WITHOUT ROWID;
CREATE INDEX blobs_git ON blobs (git) WHERE git IS NOT NULL;
CREATE TABLE refs (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    label TEXT NOT NULL,
    target TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (kind, name, label)
) WITHOUT ROWID;
CREATE TABLE places (
    path BLOB PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    saved_ns INTEGER NOT NULL,
    used_ns INTEGER NOT NULL,
    files BLOB NOT NULL
) WITHOUT ROWID;
"""

_SIMILARITY = """
ALTER TABLE frames ADD COLUMN key BLOB;
ALTER TABLE frames ADD COLUMN sketch BLOB;
CREATE INDEX frames_key ON frames (key) WHERE key IS NOT NULL;
"""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a database to this release's tables."""
    from sqlite_utils import Database, Migrations

    migrations = Migrations("casstore")

    @migrations()
    def m001_tables(database: Any) -> None:
        _execute(database, _TABLES)

    @migrations()
    def m002_similarity(database: Any) -> None:
        _execute(database, _SIMILARITY)

    migrations.apply(Database(connection))
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _execute(database: Any, statements: str) -> None:
    for statement in statements.split(";"):
        if statement.strip():
            database.execute(statement)
