"""repair: what is damaged is set aside, and storing it again heals it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from casstore.digests import sha256_digest
from casstore.errors import DamagedError, NotFoundError
from casstore.frames import FrameKind
from casstore.maintenance.repair import mend, rebuild, set_aside
from casstore.maintenance.verify import Checked, check
from casstore.store import Store
from casstore.testing.builders import GRID_BYTES, all_contents, contents, noise, put
from tests.store.maintenance.test_verify import flip, row_of

Opener = Callable[..., Store]
DATA = noise(1, 3 * GRID_BYTES)


def mended(store: Store) -> Checked:
    with store.reading():
        return mend(store.engine)


def sound(store: Store) -> bool:
    with store.reading():
        checked = check(store.engine, data=True)
    return not checked.findings and not checked.broken


@pytest.mark.parametrize("kind", [FrameKind.CHUNK, FrameKind.RECIPE])
@pytest.mark.parametrize("how", ["stored again", "only its name was known"])
def test_storing_again_heals(store: Store, kind: FrameKind, how: str) -> None:
    version = put(store, "a", {"a": DATA, "b": b"fine"})
    flip(store, row_of(store, kind, version))
    with store.reading() as reader:
        assert reader.find_blob(sha256_digest(DATA)) is not None  # nobody has looked yet
    assert len(mended(store).findings) == 1
    with store.reading() as reader:
        assert reader.find_blob(sha256_digest(DATA)) is None  # so that a pull fetches it again
        with pytest.raises((DamagedError, NotFoundError)):
            contents(reader, version)
        if kind is FrameKind.CHUNK:
            blob = reader.open_blob(sha256_digest(DATA))
            assert blob.read_at(0, GRID_BYTES) == DATA[:GRID_BYTES]  # what is right can still be read
    with store.writing() as transaction:
        stored = transaction.add_bytes(DATA, "a")
        assert 0 < stored.added_bytes < 2 * GRID_BYTES
        transaction.commit()
    assert sound(store)
    with store.reading() as reader:
        assert contents(reader, version) == {"a": DATA, "b": b"fine"}


def test_a_tree_that_is_stored_again_heals(store: Store) -> None:
    version = put(store, "a", {"a": DATA})
    flip(store, row_of(store, FrameKind.TREE, version))
    mended(store)
    put(store, "b", {"a": DATA})
    assert sound(store)
    assert len(all_contents(store)) == 2


def test_what_is_right_is_left_alone(store: Store) -> None:
    version = put(store, "a", {"a": DATA})
    with store.reading():
        assert set_aside(store.engine, check(store.engine, data=True)) == 0
    with store.writing() as transaction:
        assert transaction.add_bytes(DATA, "a").added_bytes == 0
    with store.reading() as reader:
        assert contents(reader, version) == {"a": DATA}


def test_every_blob_with_the_chunk_must_be_stored_again(store: Store) -> None:
    version = put(store, "a", {"a": DATA, "b": DATA + b"tail"})
    flip(store, row_of(store, FrameKind.CHUNK, version))
    with store.reading():
        checked = check(store.engine, data=True)
    assert set_aside(store.engine, checked) == 1
    with store.reading() as reader:
        assert reader.find_blob(sha256_digest(DATA)) is None
        assert reader.find_blob(sha256_digest(DATA + b"tail")) is None


def test_healed_damage_does_not_come_back_with_a_rebuild(small_packs: Store) -> None:
    """The pack with the damaged copy is still there: the copy that was stored later counts."""
    version = put(small_packs, "a", {"a": DATA})
    flip(small_packs, row_of(small_packs, FrameKind.CHUNK, version))
    mended(small_packs)
    put(small_packs, "b", {"a": DATA})
    assert sound(small_packs)
    rebuild(small_packs.layout)
    assert sound(small_packs)
    with small_packs.reading() as reader:
        assert contents(reader, version) == {"a": DATA}
