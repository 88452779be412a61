"""What can happen to an index. Each tear changes a copy of a sample that lies in ``store``."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.torture.groups.rebuild.samples import Sample

Tear = Callable[[random.Random, Sample, Path], None]

_PAGE_BYTES: Final = 4096
_LINK: Final = "index.sqlite3"


def _delete(chance: random.Random, sample: Sample, store: Path) -> None:
    for path in store.glob(f"{_LINK}*"):
        path.unlink()


def _delete_but_its_log(chance: random.Random, sample: Sample, store: Path) -> None:
    _killed(sample, store)
    _index(store).unlink()


def _cut_short(chance: random.Random, sample: Sample, store: Path) -> None:
    _maybe_killed(chance, sample, store)
    index = _index(store)
    os.truncate(index, chance.randrange(index.stat().st_size))


def _overwrite_pages(chance: random.Random, sample: Sample, store: Path) -> None:
    _maybe_killed(chance, sample, store)
    _overwrite(chance, _index(store))


def _flip_bits(chance: random.Random, sample: Sample, store: Path) -> None:
    _maybe_killed(chance, sample, store)
    index = _index(store)
    data = bytearray(index.read_bytes())
    for _ in range(chance.randrange(1, 40)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    index.write_bytes(data)


def _garble_the_schema(chance: random.Random, sample: Sample, store: Path) -> None:
    """Its first page says what the tables are called, in text."""
    _maybe_killed(chance, sample, store)
    index = _index(store)
    data = bytearray(index.read_bytes())
    for _ in range(chance.randrange(1, 40)):
        data[chance.randrange(100, _PAGE_BYTES)] ^= 0x80
    index.write_bytes(data)


def _delete_the_log(chance: random.Random, sample: Sample, store: Path) -> None:
    _killed(sample, store)
    _log(store).unlink()


def _tear_the_log(chance: random.Random, sample: Sample, store: Path) -> None:
    _killed(sample, store)
    log = _log(store)
    if chance.random() < 0.5:
        os.truncate(log, chance.randrange(log.stat().st_size))
    else:
        _overwrite(chance, log)


def _an_hour_ago(chance: random.Random, sample: Sample, store: Path) -> None:
    """As a backup of the index alone brings it back: whole, or without its log, or beside today's log."""
    how = chance.choice(("whole", "without its log", "beside today's log"))
    today = _log(sample.killed).read_bytes()
    _delete(chance, sample, store)
    for path in sample.earlier.iterdir():
        if how == "whole" or not path.name.endswith(("-wal", "-shm")):
            shutil.copy2(path, store / path.name, follow_symlinks=False)
    if how == "beside today's log":
        _log(store).write_bytes(today)


def _dangling_link(chance: random.Random, sample: Sample, store: Path) -> None:
    index = _index(store)
    if index.name != _LINK:
        index.unlink()
    else:
        index.unlink()
        index.symlink_to(f"{_LINK}.{chance.randbytes(4).hex()}")


def _link_lost(chance: random.Random, sample: Sample, store: Path) -> None:
    """As a tool leaves it that does not know links: the index under its long name only, or the name as a text."""
    index = _index(store)
    if index.name == _LINK:
        index.rename(store / f"{_LINK}.{chance.randbytes(4).hex()}")
        return
    (store / _LINK).unlink()
    if chance.random() < 0.5:
        (store / _LINK).write_text(index.name)


def _empty(chance: random.Random, sample: Sample, store: Path) -> None:
    _maybe_killed(chance, sample, store)
    _index(store).write_bytes(b"")


def _anothers(chance: random.Random, sample: Sample, store: Path) -> None:
    """A sound database, with the same tables and nothing in them, or with none."""
    _delete(chance, sample, store)
    index = store / _LINK
    if chance.random() < 0.5:
        shutil.copy2(_index(sample.closed), index)
        tables = ("meta", "packs", "frames", "blobs", "refs")
        statements = [f"DELETE FROM {table}" for table in tables if chance.random() < 0.6]
    else:
        statements = ["CREATE TABLE other (something)"]
    connection = sqlite3.connect(index, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def _shared_memory(chance: random.Random, sample: Sample, store: Path) -> None:
    _killed(sample, store)
    index = _index(store)
    index.with_name(f"{index.name}-shm").write_bytes(chance.randbytes(chance.randrange(1, 70_000)))


TEARS: Final[dict[str, Tear]] = {
    "deleted": _delete,
    "deleted, but not its log": _delete_but_its_log,
    "cut short": _cut_short,
    "pages overwritten": _overwrite_pages,
    "bits flipped": _flip_bits,
    "schema garbled": _garble_the_schema,
    "log deleted": _delete_the_log,
    "log torn": _tear_the_log,
    "an hour old": _an_hour_ago,
    "its link dangling": _dangling_link,
    "its link lost": _link_lost,
    "emptied": _empty,
    "another database": _anothers,
    "shared memory overwritten": _shared_memory,
}


def _index(store: Path) -> Path:
    """The database itself, where its name is a link."""
    return (store / _LINK).resolve()


def _log(store: Path) -> Path:
    index = _index(store)
    return index.with_name(f"{index.name}-wal")


def _killed(sample: Sample, store: Path) -> None:
    """The store as a kill leaves it instead."""
    shutil.rmtree(store)
    shutil.copytree(sample.killed, store, symlinks=True)


def _maybe_killed(chance: random.Random, sample: Sample, store: Path) -> None:
    if chance.random() < 0.5:
        _killed(sample, store)


def _overwrite(chance: random.Random, path: Path) -> None:
    """Some pages get noise, zeros, or what belongs into another page."""
    data = bytearray(path.read_bytes())
    pages = range(0, len(data), _PAGE_BYTES)
    for _ in range(chance.randrange(1, 7)):
        page, other = chance.choice(pages), chance.choice(pages)
        length = min(_PAGE_BYTES, len(data) - page)
        content = chance.choice((chance.randbytes(length), bytes(length), bytes(data[other : other + length])))
        data[page : page + len(content)] = content
    path.write_bytes(data)
