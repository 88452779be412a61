from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from casmodels.errors import InvalidInputError
from casmodels.views.contents import link_target
from casmodels.views.materialise import LinkMode
from casmodels.views.sweeps import remove_models
from casstore.digests import git_blob_digest
from casstore.errors import FullError, StoreError
from casstore.testing.faults import Recording, hooked
from tests.models.views.shelf import KilledError, Killer

Look = Callable[[Path], dict[str, object]]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "f" * 40
WEIGHTS = b"w" * 50_000
MODEL: dict[str, Any] = {
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "1_Pooling/config.json": b'{"pooling": true}',
    "copy/of/model.safetensors": WEIGHTS,
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git(data: bytes) -> str:
    return git_blob_digest(data).hex


def hub_metadata(content: dict[str, Any], commit: str = COMMIT, **more: Any) -> dict[str, Any]:
    upstream: dict[str, Any] = {}
    for path, data in content.items():
        upstream[path] = {"size": len(data), "blob_id": git(data)}
        if path.endswith(".safetensors"):
            upstream[path] = {"size": len(data), "blob_id": "e" * 40, "lfs_sha256": sha256(data)}
    return {"kind": "hub", "revision": commit, "requested_revision": "main", "upstream_files": upstream} | more


def test_is_the_clients_layout_to_the_letter(shelf: Any, tmp_path: Path, listing: Look) -> None:
    version = shelf.put("org/name", MODEL, **hub_metadata(MODEL))
    view = shelf.view(tmp_path / "home")
    added = shelf.add(view, ("org/name", version))
    hub = tmp_path / "home/hub"
    assert {path.name for path in hub.iterdir()} == {"models--org--name", "CACHEDIR.TAG"}
    assert (hub / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")
    found = listing(hub / "models--org--name")
    tree = found.pop(f"trees/{COMMIT}.json")
    weights, config, pooling = sha256(WEIGHTS), git(b"{}"), git(b'{"pooling": true}')
    assert found == {
        "refs/main": COMMIT.encode(),
        f"blobs/{weights}": WEIGHTS,
        f"blobs/{config}": b"{}",
        f"blobs/{pooling}": b'{"pooling": true}',
        f"snapshots/{COMMIT}/config.json": f"../../blobs/{config}",
        f"snapshots/{COMMIT}/model.safetensors": f"../../blobs/{weights}",
        f"snapshots/{COMMIT}/1_Pooling/config.json": f"../../../blobs/{pooling}",
        f"snapshots/{COMMIT}/copy/of/model.safetensors": f"../../../../blobs/{weights}",
    }
    assert isinstance(tree, bytes)
    listed = json.loads(tree)
    assert listed["format_version"] == 1
    assert listed["files"]["config.json"] == {"size": 2, "blob_id": config}
    assert listed["files"]["model.safetensors"] == {
        "size": 50_000, "blob_id": "e" * 40, "lfs_sha256": weights, "lfs_size": 50_000,
    }  # fmt: skip
    assert stat.S_IMODE((hub / f"models--org--name/trees/{COMMIT}.json").stat().st_mode) == 0o644
    (snapshot,) = added.snapshots
    assert snapshot.path == hub / "models--org--name/snapshots" / COMMIT
    assert (snapshot.path / "copy/of/model.safetensors").read_bytes() == WEIGHTS
    assert (snapshot.files, snapshot.size_bytes) == (4, 100_019)
    assert (added.link, added.kept) == (LinkMode.COPY, ())
    assert added.written_bytes == 50_019
    assert view.models() == ("org/name",)
    assert view.size_bytes == 50_019


def test_after_a_power_cut_a_ref_leads_to_a_whole_snapshot(shelf: Any, tmp_path: Path) -> None:
    """All names below are synced before the ref gets its own, and that is synced before the end."""
    version = shelf.put("org/name", MODEL, **hub_metadata(MODEL))
    folder = tmp_path / "home/hub/models--org--name"
    recording = Recording()
    with hooked(recording):
        shelf.add(shelf.view(tmp_path / "home"), ("org/name", version))
    pointed = recording.calls.index(("rename", str(folder / "refs/main")))
    synced = {Path(path) for operation, path in recording.calls[:pointed] if operation == "fsync"}
    snapshot = folder / "snapshots" / COMMIT
    assert {folder, folder / "blobs", snapshot, *(path for path in snapshot.rglob("*") if path.is_dir())} <= synced
    assert ("fsync", str(folder / "refs")) in recording.calls[pointed:]


def test_a_model_without_files(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("name", {"folder": None})
    view = shelf.view(tmp_path / "home")
    (snapshot,) = shelf.add(view, ("name", version)).snapshots
    assert list(snapshot.path.iterdir()) == []
    assert view.models() == ("name",)
    remove_models(view, shelf.store.places)
    assert not view.home.exists()


def test_again_writes_and_reads_nothing(shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = shelf.put("name", MODEL)
    view = shelf.view(tmp_path / "home")
    shelf.add(view, ("name", version))

    def refuse(path: Path, **_: object) -> None:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("casmodels.views.contents.read_digest", refuse)
    assert shelf.add(view, ("name", version)).written_bytes == 0


def test_a_checkpoint_gets_a_commit_of_its_own_and_no_organisation(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("whisper-v1", {"a.txt": b"a", "w.bin": b"b"}, tag="best")
    added = shelf.add(shelf.view(tmp_path / "home"), ("whisper-v1", version))
    folder = tmp_path / "home/hub/models--whisper-v1"
    commit = version.hex[:40]
    assert added.snapshots[0].commit == commit
    assert (folder / "refs/main").read_text() == (folder / "refs/best").read_text() == commit
    assert link_target(folder / "snapshots" / commit / "w.bin") == f"../../blobs/{sha256(b'b')}"
    listed = json.loads((folder / f"trees/{commit}.json").read_bytes())["files"]
    assert listed["a.txt"] == {"size": 1, "blob_id": git(b"a")}
    assert listed["w.bin"]["lfs_sha256"] == sha256(b"b")


def test_main_and_the_other_refs_name_what_lies_there(shelf: Any, tmp_path: Path) -> None:
    old = shelf.put("org/m", MODEL, **hub_metadata(MODEL, OTHER_COMMIT, requested_revision="v1.0"))
    new = shelf.put("org/m", MODEL, tag="good", **hub_metadata(MODEL))
    view = shelf.view(tmp_path / "home")
    refs = tmp_path / "home/hub/models--org--m/refs"
    shelf.add(view, ("org/m", old))
    assert (refs / "v1.0").read_text() == OTHER_COMMIT
    assert (refs / "main").read_text() == OTHER_COMMIT, "nothing better is here"
    assert not (refs / "good").exists()
    shelf.add(view, ("org/m", new))
    assert (refs / "main").read_text() == (refs / "good").read_text() == COMMIT
    shelf.add(view, ("org/m", old))
    assert (refs / "main").read_text() == COMMIT
    assert (refs / "v1.0").read_text() == OTHER_COMMIT


def test_a_version_that_no_ref_names_can_be_shown(shelf: Any, tmp_path: Path) -> None:
    gone, kept = shelf.put("mine", {"a": b"1"}), shelf.put("mine", {"a": b"2"})
    shelf.remove("mine", gone)
    view = shelf.view(tmp_path / "home")
    added = shelf.add(view, ("mine", kept), ("mine", gone))
    assert (added.snapshots[1].path / "a").read_bytes() == b"1"
    assert (tmp_path / "home/hub/models--mine/refs/main").read_text() == kept.hex[:40]


def test_a_partial_pull_lists_all_of_upstream(shelf: Any, tmp_path: Path) -> None:
    taken = {"config.json": b"{}"}
    version = shelf.put("org/m", taken, **hub_metadata(MODEL))
    shelf.add(shelf.view(tmp_path / "home"), ("org/m", version))
    folder = tmp_path / "home/hub/models--org--m"
    assert set(json.loads((folder / f"trees/{COMMIT}.json").read_bytes())["files"]) == set(MODEL)
    whole = shelf.put("org/m", MODEL, **hub_metadata(MODEL))
    shelf.add(shelf.view(tmp_path / "home"), ("org/m", whole))
    assert (folder / "snapshots" / COMMIT / "model.safetensors").read_bytes() == WEIGHTS


def test_links_of_a_version_become_links_to_blobs(shelf: Any, tmp_path: Path, listing: Look) -> None:
    content = {"real/model.bin": b"m", "latest.bin": "real/model.bin", "folder": "real", "lost": "nowhere"}
    version = shelf.put("mine", content)
    added = shelf.add(shelf.view(tmp_path / "home"), ("mine", version))
    blob = sha256(b"m")
    assert listing(added.snapshots[0].path) == {
        "real/model.bin": f"../../../blobs/{blob}",
        "latest.bin": f"../../blobs/{blob}",
        "folder/model.bin": f"../../../blobs/{blob}",
    }


def test_a_changed_blob_is_replaced(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", {"config.json": b"right"})
    view = shelf.view(tmp_path / "home")
    path = shelf.add(view, ("mine", version)).snapshots[0].path / "config.json"
    path.write_bytes(b"wrong")
    assert shelf.add(view, ("mine", version)).written_bytes == 5
    assert path.read_bytes() == b"right"


def test_a_touched_blob_is_read_and_left(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", {"config.json": b"right"})
    view = shelf.view(tmp_path / "home")
    path = shelf.add(view, ("mine", version)).snapshots[0].path / "config.json"
    os.utime(path)
    inode = path.stat().st_ino
    assert shelf.add(view, ("mine", version)).written_bytes == 0
    assert path.stat().st_ino == inode


def test_missing_links_refs_and_listings_come_back(shelf: Any, tmp_path: Path, listing: Look) -> None:
    version = shelf.put("mine", MODEL)
    view = shelf.view(tmp_path / "home")
    added = shelf.add(view, ("mine", version))
    before = listing(view.hub)
    folder = tmp_path / "home/hub/models--mine"
    (added.snapshots[0].path / "config.json").unlink()
    (added.snapshots[0].path / "model.safetensors").unlink()
    (added.snapshots[0].path / "model.safetensors").symlink_to("../../blobs/torn")
    (folder / "refs/main").write_text("")
    (folder / f"trees/{version.hex[:40]}.json").write_text("{")
    shelf.add(view, ("mine", version))
    assert listing(view.hub) == before


def test_what_others_put_into_a_snapshot_is_kept_and_named(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", {"a/config.json": b"theirs", "b": b"b", "c": b"c", "d/e": b"e"})
    view = shelf.view(tmp_path / "home")
    snapshot = shelf.add(view, ("mine", version)).snapshots[0].path
    (snapshot / "a/config.json").unlink()
    (snapshot / "a/config.json").write_bytes(b"edited")
    (snapshot / "b").unlink()
    (snapshot / "b").symlink_to(tmp_path / "elsewhere")
    (snapshot / "c").unlink()
    (snapshot / "c").mkdir()
    (snapshot / "d/e").unlink()
    (snapshot / "d").rmdir()
    (snapshot / "d").symlink_to(tmp_path)
    added = shelf.add(view, ("mine", version))
    prefix = f"models--mine/snapshots/{version.hex[:40]}"
    assert set(added.kept) == {f"{prefix}/{path}" for path in ("a/config.json", "b", "c", "d/e")}
    assert (snapshot / "a/config.json").read_bytes() == b"edited"
    assert not (tmp_path / "e").exists()


def test_somebody_elses_cache_is_refused_before_a_byte_is_written(shelf: Any, tmp_path: Path, listing: Look) -> None:
    version = shelf.put("mine", {"a": b"a"})
    theirs = tmp_path / "home/hub/models--gpt2/blobs"
    theirs.mkdir(parents=True)
    (theirs / "x").write_bytes(b"x")
    (tmp_path / "home/hub/CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n# huggingface\n")
    before = listing(tmp_path / "home")
    for home in (tmp_path / "home", tmp_path / "home/hub"):
        with pytest.raises(InvalidInputError, match="Hub cache"):
            shelf.add(shelf.view(home), ("mine", version))
    assert listing(tmp_path / "home") == before


def test_the_store_and_a_file_are_refused(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", {"a": b"a"})
    (tmp_path / "file").write_bytes(b"")
    for home in (shelf.store.path, shelf.store.path / "packs", tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(InvalidInputError):
            shelf.add(shelf.view(home), ("mine", version))
    assert not (shelf.store.path / "hub").exists()


def test_own_view_stays_own_when_the_index_was_rebuilt(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", MODEL)
    view = shelf.view(tmp_path / "home")
    shelf.add(view, ("mine", version))
    shelf.store.places.forget(view.hub / "models--mine")
    assert shelf.add(view, ("mine", version)).written_bytes == 0
    assert view.size_bytes == 50_019, "its blobs are its own again"


def test_what_the_client_downloaded_is_used_but_not_taken_over(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", MODEL)
    other = shelf.put("other", {"a": b"a"})
    view = shelf.view(tmp_path / "home")
    shelf.add(view, ("other", other))
    blobs = view.hub / "models--mine/blobs"
    blobs.mkdir(parents=True)
    (blobs / sha256(WEIGHTS)).write_bytes(WEIGHTS)
    inode = (blobs / sha256(WEIGHTS)).stat().st_ino
    (blobs / git(b"{}")).write_bytes(b"[]")
    shelf.store.places.save(_place_without_files(shelf, view))
    added = shelf.add(view, ("mine", version))
    assert added.written_bytes == 2 + len(b'{"pooling": true}')
    assert (blobs / sha256(WEIGHTS)).stat().st_ino == inode
    place = shelf.store.places.load(view.hub / "models--mine")
    assert f"blobs/{sha256(WEIGHTS)}" not in place.files
    assert (added.snapshots[0].path / "config.json").read_bytes() == b"{}"


def _place_without_files(shelf: Any, view: Any) -> Any:
    (place,) = view.places()
    return replace(place, path=str(view.hub / "models--mine"), name="mine", files={})


def test_space_is_checked_for_all_models_before_any(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shelf.put("one", {"w.bin": b"1" * 700_000})
    two = shelf.put("two", {"w.bin": b"2" * 700_000})
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: real._replace(free=1 << 21))
    shelf.add(shelf.view(tmp_path / "first"), ("one", one))
    monkeypatch.setattr("shutil.disk_usage", lambda _: real._replace(free=(1 << 20) + 1_000_000))
    with pytest.raises(FullError, match=r"1\.3 MiB"):
        shelf.add(shelf.view(tmp_path / "second"), ("one", one), ("two", two), link=LinkMode.COPY)
    assert not (tmp_path / "second").exists()
    shelf.add(shelf.view(tmp_path / "first"), ("one", one), ("two", two))


def test_links_are_tried_only_where_somebody_cleans_up(
    shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill leaves the trial there, and above the view it would stay for good."""
    make, places = Path.symlink_to, set()

    def look(self: Path, target: str) -> None:
        places.add(self.parent)
        make(self, target)

    monkeypatch.setattr(Path, "symlink_to", look)
    version = shelf.put("mine", MODEL)
    for _ in range(2):
        shelf.add(shelf.view(tmp_path / "home"), ("mine", version))
    assert places == {tmp_path / "home/hub/models--mine/blobs"}


def test_without_links_snapshots_hold_the_files(
    shelf: Any, tmp_path: Path, listing: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    version = shelf.put("mine", MODEL)
    monkeypatch.setattr(Path, "symlink_to", refuse)
    view = shelf.view(tmp_path / "home")
    added = shelf.add(view, ("mine", version))
    assert listing(added.snapshots[0].path) == MODEL
    assert shelf.add(view, ("mine", version)).written_bytes == 0
    (added.snapshots[0].path / "config.json").write_bytes(b"?!")
    assert shelf.add(view, ("mine", version)).written_bytes == 2
    (added.snapshots[0].path / "own.txt").write_bytes(b"own")
    result = remove_models(view, shelf.store.places)
    assert result.kept == (str(added.snapshots[0].path / "own.txt"),)
    assert set(listing(added.snapshots[0].path)) == {"own.txt"}


def test_two_at_once_make_one_view(shelf: Any, tmp_path: Path) -> None:
    versions = [shelf.put("mine", MODEL | {"n": b"%d" % number}) for number in range(3)]
    view = shelf.view(tmp_path / "home")
    added: list[Any] = []
    errors: list[StoreError] = []

    def run(version: Any) -> None:
        try:
            added.append(shelf.add(view, ("mine", version)))
        except StoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(version,)) for version in versions * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sum(one.written_bytes for one in added) == 50_019 + 3
    place = shelf.store.places.load(view.hub / "models--mine")
    assert len(place.files) == 6, "nobody's note was lost"


def test_exports(shelf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    view = shelf.view(Path("my home"))
    assert list(view.exports().items()) == [("HF_HOME", str(tmp_path / "my home")), ("HF_HUB_OFFLINE", "1")]
    exports = view.exports(Path("/t/token"), over_hub_cache=True)
    assert exports["HF_TOKEN_PATH"] == "/t/token"
    assert exports["HF_HUB_CACHE"] == str(tmp_path / "my home/hub")


def test_refs_that_cannot_both_be_files_are_named(shelf: Any, tmp_path: Path) -> None:
    first = shelf.put("mine", {"a": b"a"}, tag="v1/b")
    one = shelf.put("mine", {"a": b"b"}, tag="v1")
    view = shelf.view(tmp_path / "home")
    added = shelf.add(view, ("mine", one), ("mine", first))
    assert added.kept == ("models--mine/refs/v1/b",)
    assert (view.hub / "models--mine/refs/v1").read_text() == one.hex[:40]


def test_a_kill_at_any_moment_leaves_no_half_snapshot_under_a_ref(
    shelf: Any, tmp_path: Path, listing: Look, killer: Killer
) -> None:
    first, second = shelf.put("mine", {"a": b"1", "x/b": b"2"}), shelf.put("mine", {"a": b"3", "x/c": b"4"})
    survived = False
    for at in range(1, 200):
        view = shelf.view(tmp_path / f"home{at}")
        shelf.add(view, ("mine", first))
        killer.left = at
        try:
            shelf.add(view, ("mine", second))
            survived = True
        except KilledError:
            pass
        finally:
            killer.left = None
        folder = view.hub / "models--mine"
        commit = (folder / "refs/main").read_text()
        snapshot = folder / "snapshots" / commit
        content = {path: (snapshot / path).read_bytes() for path in ("a", "x/b", "x/c") if (snapshot / path).exists()}
        assert content in ({"a": b"1", "x/b": b"2"}, {"a": b"3", "x/c": b"4"}), at
        shelf.add(view, ("mine", second))
        assert (folder / "refs/main").read_text() == second.hex[:40]
        assert listing(folder / "blobs").keys() == {path.rpartition("/")[2] for path in view.places()[0].files}
        remove_models(view, shelf.store.places)
        assert not view.home.exists(), at
        if survived:
            return
    raise AssertionError("the run never came to its end")


@pytest.mark.parametrize(
    "upstream", [5, {"a": 5}, {"a": {}}, {"a": {"size": "x", "blob_id": 7}}, {"../up": {"size": 1}}]
)
def test_upstream_files_that_are_none_are_overlooked(shelf: Any, tmp_path: Path, upstream: Any) -> None:
    version = shelf.put("org/model", {"a": b"x"}, revision=COMMIT, upstream_files=upstream)
    shelf.add(shelf.view(tmp_path / "home"), ("org/model", version))
    trees = tmp_path / "home" / "hub" / "models--org--model" / "trees"
    assert list(json.loads((trees / f"{COMMIT}.json").read_text())["files"]) == ["a"]
