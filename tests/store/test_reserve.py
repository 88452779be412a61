"""The reserve: room for those who make room, where the disk has none."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from casstore.errors import FullError
from casstore.maintenance import gc
from casstore.reserve import Reserve
from casstore.store import Store
from casstore.testing.builders import all_contents, noise, put, remove
from casstore.testing.faults import Failing, Recording, hooked

_Usage = namedtuple("_Usage", "total used free")
FILES = {"a": noise(1, 5000)}


@pytest.fixture
def store(root: Path) -> Store:
    with Store.open(root, create=True) as store:
        put(store, "a", FILES)
    return store


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: _Usage(1, 1, 0))


def test_it_is_made_with_the_first_pack_and_grows_with_the_index(store: Store) -> None:
    path = store.layout.reserve
    index_bytes = store.layout.index.stat().st_size
    assert path.stat().st_size >= index_bytes
    with store.layout.index.open("ab") as index:
        index.truncate(index_bytes + 100_000)
    Reserve(store.layout).fill()
    assert path.stat().st_size == Reserve(store.layout).wanted_bytes >= index_bytes + 100_000


def test_it_is_left_alone_where_there_is_room(store: Store) -> None:
    before = store.layout.reserve.stat()
    with Reserve(store.layout).lent():
        assert store.layout.reserve.stat().st_ino == before.st_ino
    with Store.open(store.path) as again:
        remove(again, "a", next(ref.target for ref in again.engine.ledger.refs.all()))
    assert store.layout.reserve.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.usefixtures("full")
def test_on_a_full_disk_it_gives_its_room_to_the_index_and_takes_it_back(store: Store) -> None:
    reserve = Reserve(store.layout)
    with reserve.lent():
        assert not store.layout.reserve.exists()
    assert store.layout.reserve.stat().st_size == reserve.wanted_bytes
    recording = Recording()
    with hooked(recording), Store.open(store.path) as again:
        opened = len(recording.calls)
        remove(again, "a", next(ref.target for ref in again.engine.ledger.refs.all()))
        removed = [operation for operation, path in recording.calls[opened:] if path == str(store.layout.reserve)]
        gc.collect(again.engine)
    assert ("unlink", str(store.layout.reserve)) in recording.calls[:opened]
    assert removed[:2] == ["unlink", "create"]


@pytest.mark.usefixtures("full")
def test_on_a_full_disk_the_log_is_folded_in_before_the_reserve_takes_its_room_back(store: Store) -> None:
    with Store.open(store.path) as again:
        remove(again, "a", next(ref.target for ref in again.engine.ledger.refs.all()))
        assert again.layout.index.with_name("index.sqlite3-wal").stat().st_size == 0


@pytest.mark.usefixtures("full")
def test_nothing_fails_because_it_cannot_be_made_again(store: Store) -> None:
    with hooked(Failing(errno.ENOSPC, path_part="/reserve")), Store.open(store.path) as again:
        assert list(all_contents(again).values()) == [FILES]
    assert store.layout.reserve.exists()  # it could not be unlinked
    store.layout.reserve.unlink()
    with hooked(Failing(errno.ENOSPC, "write", "/reserve")), Store.open(store.path) as again:
        remove(again, "a", next(ref.target for ref in again.engine.ledger.refs.all()))
    assert store.layout.reserve.stat().st_size == 0


def test_no_pack_takes_its_room(store: Store) -> None:
    store.layout.reserve.unlink()
    with Store.open(store.path) as again:
        with hooked(Failing(errno.ENOSPC, "write", "/reserve")), pytest.raises(FullError, match="reserve"):
            put(again, "b", {"b": noise(2, 5000)})
        assert not list(store.layout.packs.glob("*.tmp"))
        put(again, "b", {"b": noise(2, 5000)})
        assert len(all_contents(again)) == 2
