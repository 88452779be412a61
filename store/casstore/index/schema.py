"""The index's tables. FORMAT.md, "Index", describes them; the database may be thrown away and rebuilt.

sqlite-utils runs the migrations of older databases and is imported only for that (0.13 s).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

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

_STEPS = (_TABLES, _SIMILARITY)
"""What brings the tables from each version to the next."""

VERSION = len(_STEPS)
"""Kept in ``PRAGMA user_version``."""


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database. Not by way of sqlite-utils: a first pull need not wait for that."""
    for step in _STEPS:
        for statement in _statements(step):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring a database of an older release to this one's tables."""
    from sqlite_utils import Database, Migrations

    migrations = Migrations("casstore")
    for number, step in enumerate(_STEPS[version:], version + 1):
        migrations(name=f"m{number:03}")(_executing(step))
    migrations.apply(Database(connection))
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _executing(step: str) -> Callable[[Any], None]:
    def execute(database: Any) -> None:
        for statement in _statements(step):
            database.execute(statement)

    return execute


def _statements(step: str) -> list[str]:
    return [statement for statement in step.split(";") if statement.strip()]
