"""What versions need: exact, and without a look-up for every chunk of every version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from casstore.catalog import Reader
from casstore.closure import closure
from casstore.digests import Digest
from casstore.frames import FrameKind
from casstore.index.database import Database
from casstore.maintenance import gc, verify
from casstore.store import Store
from casstore.testing.builders import GRID_BYTES, noise, one_tensor, put
from casstore.trees import Tree
from casstore.versions import Version

CHUNKS = 60
DELTA_BYTES = 1 << 16


def _by_closure(store: Store, versions: list[Digest]) -> int:
    names = {name for version in versions for name in closure(store.engine, FrameKind.VERSION, version)}
    rows = [store.engine.ledger.rows.frame(*name) for name in names]
    return sum(row.length for row in rows if row is not None)


def _read(reader: Reader, versions: list[Digest]) -> Iterator[tuple[Version, Tree]]:
    for version in map(reader.version, versions):
        yield version, reader.tree(version.tree)


def _family(store: Store, count: int) -> list[Digest]:
    """Versions of which each has one other chunk than the one before, in two files that share chunks."""
    versions = []
    data = noise(1, CHUNKS * GRID_BYTES)
    for number in range(count):
        data = noise(100 + number, GRID_BYTES) + data[GRID_BYTES:]
        versions.append(put(store, "a", {"a": data, "b": data[: 9 * GRID_BYTES], "c": b"same"}, created_ns=number))
    return versions


def test_each_frame_counts_once(store: Store) -> None:
    versions = _family(store, 4)
    with store.reading() as reader:
        family = list(_read(reader, versions))
        assert list(reader.stored_bytes_of_each(family)) == [_by_closure(store, [one]) for one in versions]
        assert reader.stored_bytes(family) == _by_closure(store, versions)
        assert reader.stored_bytes([family[2], family[0], family[2]]) == _by_closure(store, versions[::2])
        assert reader.stored_bytes([]) == 0


def test_bases_count_while_anything_is_stored_against_them(tmp_path: Path) -> None:
    """Two files against one base, which no version has by itself; then one, then none, then the base alone."""
    base = noise(7, DELTA_BYTES)
    one, two = (base[:-4] + bytes([byte]) * 4 for byte in (1, 2))
    with Store.open(tmp_path / "store", create=True, finder=one_tensor) as store:
        put(store, "base", {"weights-.4": base})
        versions = [
            put(store, "a", files, created_ns=number)
            for number, files in enumerate(
                [
                    {"weights-.4": one, "weights-again.4": two},
                    {"weights-.4": one},
                    {"x": b""},
                    {"weights-.4": base},
                    {"weights-.4": two},
                ]
            )
        ]
        assert store.engine.ledger.rows.totals()[2] < 2 * DELTA_BYTES, "they are no deltas"
        with store.reading() as reader:
            for order in (versions, versions[::-1], [versions[0], versions[3], versions[1]]):
                each = list(reader.stored_bytes_of_each(_read(reader, order)))
                assert each == [_by_closure(store, [version]) for version in order]


def test_look_ups_do_not_grow_with_the_chunks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = _family(store, 10)
    statements = 0
    execute = Database.execute

    def counted(database: Database, statement: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        nonlocal statements
        statements += 1
        return execute(database, statement, values)

    monkeypatch.setattr(Database, "execute", counted)
    with store.reading() as reader:
        for asked in (
            lambda: list(reader.stored_bytes_of_each(_read(reader, versions))),
            lambda: reader.stored_bytes(_read(reader, versions)),
            lambda: reader.usage(versions),
            lambda: gc.estimate(store.engine),
            lambda: verify.check(store.engine),
        ):
            statements = 0
            asked()
            assert statements < CHUNKS * len(versions) / 4
