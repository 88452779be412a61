"""Places: a file counts as unchanged only when that is certain."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from casstore.digests import blake3_digest, sha256_digest
from casstore.index.database import Database
from casstore.index.places import FileState, Place, PlaceKind, Places

BLOB = sha256_digest(b"x")
VERSION = blake3_digest(b"version")


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    database = Database(tmp_path / "index")
    yield Places(database, nullcontext)
    database.close()


def place(path: Path | str, **changes: object) -> Place:
    states = {"a/b": FileState(1, 2, 3, BLOB), "\udcff": FileState(2**40, 2**62, 2**63 - 1, BLOB)}
    return replace(Place(str(path), PlaceKind.CHECKOUT, "org/n", VERSION, states, 10, 20), **changes)  # type: ignore[arg-type]


def test_saved_loaded_and_forgotten(places: Places, tmp_path: Path) -> None:
    saved = place(tmp_path / "out")
    places.save(saved)
    assert places.load(tmp_path / "out") == saved
    assert places.load(tmp_path / "other") is None
    places.save(replace(saved, name="x", files={}))
    loaded = places.load(tmp_path / "out")
    assert loaded is not None
    assert (loaded.name, loaded.files) == ("x", {})
    places.forget(tmp_path / "out")
    assert places.load(tmp_path / "out") is None
    places.forget(tmp_path / "out")


def test_one_directory_has_one_place_whatever_it_is_called(places: Places, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    places.save(place(tmp_path / "link"))
    assert places.load(tmp_path / "real") is not None
    assert places.load(tmp_path / "x" / ".." / "real") is not None


def test_a_path_that_is_no_utf8(places: Places, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe")
    places.save(place(path))
    found = places.load(path)
    assert found is not None
    assert os.fsencode(found.path) == os.fsencode(path)


def test_all_of_a_kind_or_name_last_saved_first(places: Places, tmp_path: Path) -> None:
    places.save(place(tmp_path / "1", saved_ns=1))
    places.save(place(tmp_path / "2", saved_ns=3, kind=PlaceKind.VIEW))
    places.save(place(tmp_path / "3", saved_ns=2, name="other"))
    assert [found.saved_ns for found in places.all()] == [3, 2, 1]
    assert [found.saved_ns for found in places.all(PlaceKind.CHECKOUT)] == [2, 1]
    assert [found.saved_ns for found in places.all(name="org/n")] == [3, 1]


def test_use_is_noted(places: Places, tmp_path: Path) -> None:
    before = time.time_ns()
    places.save(place(tmp_path / "1", used_ns=0))
    places.save(place(tmp_path / "2"))
    for name in ("1", "2"):
        places.touch(tmp_path / name)
        found = places.load(tmp_path / name)
        assert found is not None
        assert before <= found.used_ns <= time.time_ns()


def status(path: Path) -> os.stat_result:
    return path.stat()


def test_a_file_matches_only_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    os.utime(path, ns=(0, 1_000_000_001))
    state = FileState.of(status(path), BLOB)
    late = 2_000_000_000_000
    assert state.matches(status(path), late)
    os.utime(path, ns=(0, 1_000_000_002))
    assert not state.matches(status(path), late)
    path.write_bytes(b"xy")
    os.utime(path, ns=(0, 1_000_000_001))
    assert not state.matches(status(path), late)
    path.with_name("b").write_bytes(b"x")
    os.utime(path.with_name("b"), ns=(0, 1_000_000_001))
    path.with_name("b").replace(path)
    assert not state.matches(status(path), late)


@pytest.mark.parametrize(
    ("mtime_ns", "saved_after_ns", "trusted"),
    [
        (5_000_000_001, -1, False),
        (5_000_000_001, 0, False),
        (5_000_000_001, 20_000_000, False),
        (5_000_000_001, 20_000_001, True),
        (5_000_000_000, 1_999_999_999, False),  # whole seconds: a file system with coarse times, perhaps
        (5_000_000_000, 2_000_000_001, True),
    ],
)
def test_a_file_written_as_the_place_was_saved_is_not_trusted(
    tmp_path: Path, mtime_ns: int, saved_after_ns: int, trusted: bool
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    os.utime(path, ns=(0, mtime_ns))
    state = FileState.of(status(path), BLOB)
    assert state.matches(status(path), mtime_ns + saved_after_ns) is trusted
