"""The catalog: prefixes, refs, and where the bytes go."""

from __future__ import annotations

from pathlib import Path

import pytest

from casstore.digests import blake3_digest
from casstore.errors import InvalidInputError, NotFoundError
from casstore.maintenance.repair import rebuild
from casstore.refs import RefKey, RefKind
from casstore.store import Store
from casstore.testing.builders import GRID_BYTES, noise, put, remove, version_key

DATA = noise(1, 3 * GRID_BYTES)


def test_versions_by_the_beginning_of_their_id(store: Store) -> None:
    versions = [put(store, "a", {"a": b"x"}, created_ns=number) for number in range(20)]
    with store.reading() as reader:
        for version in versions:
            for length in (1, 2, 7, 63, 64):
                prefix = version.hex[:length]
                expected = sorted(other.hex for other in versions if other.hex.startswith(prefix))
                assert [found.hex for found in reader.versions_with_prefix(prefix)] == expected
        assert reader.versions_with_prefix(blake3_digest(b"x").hex) == []


def test_a_removed_version_is_found_until_gc(store: Store) -> None:
    version = put(store, "a", {"a": b"x"})
    remove(store, "a", version)
    with store.reading() as reader:
        assert reader.versions_with_prefix(version.hex[:8]) == [version]
        assert reader.refs() == []


@pytest.mark.parametrize("prefix", ["", "x", "AB", "0" * 65, "0x", " 1", "٣"])
def test_what_is_no_beginning_of_an_id(store: Store, prefix: str) -> None:
    with store.reading() as reader, pytest.raises(InvalidInputError):
        reader.versions_with_prefix(prefix)


def test_refs(store: Store) -> None:
    one, two = put(store, "a", {"a": b"1"}), put(store, "b", {"a": b"2"})
    tag = RefKey(RefKind.TAG, "a", "v1")
    with store.writing() as transaction:
        transaction.set_ref(tag, one)
        transaction.commit()
        transaction.set_ref(tag, two)
        transaction.commit()
    with store.reading() as reader:
        assert [ref.key for ref in reader.refs()] == [version_key("a", one), version_key("b", two), tag]
        assert [ref.target for ref in reader.refs(RefKind.VERSION, "b")] == [two]
        ref = reader.ref(tag)
        assert ref is not None
        assert (ref.target, ref.order) == (two, 3)
        assert reader.ref(RefKey(RefKind.PIN, "a", "x")) is None


def test_unknown_records(store: Store) -> None:
    nobody = blake3_digest(b"nobody")
    with store.reading() as reader:
        for look_up in (reader.version, reader.tree, reader.recipe):
            with pytest.raises(NotFoundError, match=nobody.hex):
                look_up(nobody)


def test_stored_bytes_count_what_is_shared_once(store: Store) -> None:
    one = put(store, "a", {"a": DATA})
    two = put(store, "a", {"a": DATA, "b": noise(2, GRID_BYTES)})
    with store.reading() as reader:
        first, second = ((version, reader.tree(version.tree)) for version in map(reader.version, (one, two)))
        each = [reader.stored_bytes([version]) for version in (first, second)]
        both = reader.stored_bytes([first, second, first])
    assert len(DATA) < each[0] < each[1]
    assert each[1] < both < each[1] + GRID_BYTES


def test_usage(store: Store, root: Path) -> None:
    version = put(store, "a", {"a": DATA, "b": DATA})
    with store.reading() as reader:
        of_version, of_store = reader.usage([version]), reader.usage()
    for usage in (of_version, of_store):
        assert (usage.chunks, usage.raw_bytes) == (3, len(DATA))
        assert [(codec, chunks, raw) for codec, chunks, raw, _ in usage.by_codec] == [(0, 3, len(DATA))]
    store.close()
    files = sum(path.stat().st_size for path in root.rglob("*") if path.is_file() and "index" not in path.name)
    assert of_store.stored_bytes - of_store.index_bytes == files
    assert of_version.stored_bytes < files


def test_the_index_is_counted_once_after_a_repair(store: Store, root: Path) -> None:
    put(store, "a", {"a": DATA})
    rebuild(store.layout)
    with store.reading() as reader:
        index_bytes = reader.usage().index_bytes
        files = sum(path.lstat().st_size for path in root.glob("index*") if not path.is_symlink())
    assert abs(index_bytes - files) < 100


def test_the_census(store: Store) -> None:
    with store.reading() as reader:
        assert (reader.census().names, reader.census().versions) == (0, 0)
    for name, content in (("a", b"1"), ("a", b"2"), ("b", b"3")):
        put(store, name, {"f": content})
    with store.reading() as reader:
        census = reader.census()
    assert (census.names, census.versions) == (2, 3)
    assert census.packs_bytes == sum(path.stat().st_size for path in store.layout.packs.rglob("*") if path.is_file())
