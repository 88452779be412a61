from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from casmodels.views.sweeps import cleanup, drop_unused, remove_models
from casstore.errors import NotFoundError

Look = Callable[[Path], dict[str, object]]

MODEL: dict[str, Any] = {"config.json": b"{}", "sub/model.bin": b"w" * 10_000}
DAY_NS = 86_400 * 10**9


def test_removing_the_last_model_leaves_nothing(shelf: Any, tmp_path: Path) -> None:
    view = shelf.view(tmp_path / "home")
    shelf.add(view, ("one", shelf.put("one", MODEL)), ("two", shelf.put("two", MODEL)))
    with pytest.raises(NotFoundError):
        remove_models(view, shelf.store.places, ["one", "three"])
    result = remove_models(view, shelf.store.places, ["one"])
    assert (result.reclaimed_bytes, result.kept) == (10_002 + _listing_bytes(view, "two") + 40, ())
    assert view.models() == ("two",)
    remove_models(view, shelf.store.places)
    assert not (tmp_path / "home").exists()
    assert shelf.store.places.all() == []


def _listing_bytes(view: Any, name: str) -> int:
    (listing,) = (view.hub / f"models--{name}/trees").iterdir()
    return listing.stat().st_size


def test_a_dry_run_says_the_same_and_does_nothing(shelf: Any, tmp_path: Path, listing: Look) -> None:
    view = shelf.view(tmp_path / "home")
    shelf.add(view, ("one", shelf.put("one", MODEL)))
    before = listing(tmp_path / "home")
    dry = remove_models(view, shelf.store.places, dry_run=True)
    assert listing(tmp_path / "home") == before
    assert view.models() == ("one",)
    wet = remove_models(view, shelf.store.places)
    assert (dry.reclaimed_bytes, dry.removed) == (wet.reclaimed_bytes, wet.removed)


def test_what_others_made_or_changed_is_kept_and_named(shelf: Any, tmp_path: Path, listing: Look) -> None:
    version = shelf.put("one", MODEL | {"c": b"c"})
    view = shelf.view(tmp_path / "home")
    snapshot = shelf.add(view, ("one", version)).snapshots[0].path
    folder = view.hub / "models--one"
    (snapshot / "config.json").write_bytes(b"edited through the link")
    (folder / "blobs/downloaded").write_bytes(b"theirs")
    (snapshot / "extra.bin").symlink_to("../../blobs/downloaded")
    (snapshot / "notes.txt").write_bytes(b"theirs")
    (folder / "refs/old").write_text("e" * 40)
    (folder / ".no_exist" / ("e" * 40)).mkdir(parents=True)
    (folder / ".no_exist" / ("e" * 40) / "x.json").write_bytes(b"")
    result = remove_models(view, shelf.store.places)
    edited = (snapshot / "config.json").resolve()
    assert set(result.kept) == {str(edited), str(folder / "blobs/downloaded"), str(snapshot / "notes.txt")}
    left = listing(folder)
    commit = version.hex[:40]
    assert set(left) == {
        f"blobs/{edited.name}",
        "blobs/downloaded",
        f"snapshots/{commit}/config.json",
        f"snapshots/{commit}/extra.bin",
        f"snapshots/{commit}/notes.txt",
        "refs/main",
        f"trees/{commit}.json",
    }
    assert (snapshot / "config.json").read_bytes() == b"edited through the link"


def test_drops_what_neither_the_store_nor_others_used(shelf: Any, tmp_path: Path) -> None:
    view = shelf.view(tmp_path / "home")
    shelf.add(view, *((name, shelf.put(name, {"w.bin": name.encode()})) for name in ("used", "read", "idle")))
    past_ns = time.time_ns() - 40 * DAY_NS
    for place in view.places():
        if place.name != "used":
            shelf.store.places.save(replace(place, used_ns=past_ns))
        if place.name != "read":
            for path in place.files:
                status = (Path(place.path) / path).stat()
                os.utime(Path(place.path) / path, ns=(past_ns, status.st_mtime_ns))
    assert drop_unused(shelf.store.places, 41).removed == 0
    assert drop_unused(shelf.store.places, 30, dry_run=True).removed > 0
    assert view.models() == ("idle", "read", "used")
    assert drop_unused(shelf.store.places, 30).reclaimed_bytes > 4
    assert view.models() == ("read", "used")


def test_cleanup_takes_leftovers_and_names_others(shelf: Any, tmp_path: Path, listing: Look) -> None:
    version = shelf.put("one", MODEL)
    view = shelf.view(tmp_path / "home")
    snapshot = shelf.add(view, ("one", version)).snapshots[0].path
    shelf.checkout(version, tmp_path / "out", name="one")
    clean = listing(tmp_path / "out")
    blobs = view.hub / "models--one/blobs"
    (blobs / ".casmodels-1.tmp").write_bytes(b"12345")
    (tmp_path / "out/.casmodels-2.tmp").write_bytes(b"67")
    (tmp_path / "out/sub/.casmodels-mine").write_bytes(b"")
    (blobs / "abc.incomplete").write_bytes(b"theirs")
    (snapshot / "config.json").unlink()
    dry = cleanup(shelf.store.places, dry_run=True)
    result = cleanup(shelf.store.places)
    assert (result.reclaimed_bytes, result.removed) == (dry.reclaimed_bytes, dry.removed) == (5 + 2 + 2, 3)
    assert result.kept == (str(blobs / "abc.incomplete"),)
    assert listing(tmp_path / "out") == clean | {"sub/.casmodels-mine": b""}
    assert len(list(blobs.iterdir())) == 2
    assert cleanup(shelf.store.places).removed == 0
    assert shelf.add(view, ("one", version)).written_bytes == 2


def test_cleanup_leaves_alone_what_is_being_written(shelf: Any, tmp_path: Path) -> None:
    shelf.checkout(shelf.put("one", MODEL), tmp_path / "out", name="one")
    (tmp_path / "out/.casmodels-2.tmp").write_bytes(b"67")
    descriptor = os.open(tmp_path / "out", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert cleanup(shelf.store.places).removed == 0
    finally:
        os.close(descriptor)
    assert cleanup(shelf.store.places).removed == 1


def test_a_view_that_the_client_removed_is_forgotten(shelf: Any, tmp_path: Path) -> None:
    view = shelf.view(tmp_path / "home")
    shelf.add(view, ("one", shelf.put("one", MODEL)))
    (view.hub / "models--one").rename(tmp_path / "away")
    assert view.models() == ()
    cleanup(shelf.store.places)
    assert view.places() == []
