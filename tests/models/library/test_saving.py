from __future__ import annotations

import gzip
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from casmodels.errors import NameTakenError, UnknownModelError, UnknownVersionError
from casmodels.library import PullOptions, Store
from casmodels.progress import SilentProgress, Task
from casstore.errors import InvalidInputError, NotFoundError
from casstore.maintenance import gc
from casstore.store import Store as Engine
from casstore.transactions import Transaction
from tests.hub import FakeHub
from tests.models.library.conftest import MakeStore


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory with everything that a directory may hold."""
    directory = tmp_path / "model"
    (directory / "sub").mkdir(parents=True)
    (directory / "empty").mkdir()
    (directory / "weights.bin").write_bytes(os.urandom(100_000))
    (directory / "sub" / "a b#%20é\n.json").write_text("{}")
    (directory / "zero").touch()
    (directory / "run.sh").write_text("#!/bin/sh\n")
    (directory / "run.sh").chmod(0o755)
    (directory / "link").symlink_to("sub")
    Path(os.fsdecode(os.fsencode(directory) + b"/\xff\xfe.bin")).write_bytes(b"not UTF-8")
    _age(directory)
    return directory


def _age(directory: Path) -> None:
    """Set times back, so that no file counts as changed within the clock's grain."""
    past = time.time() - 10.25
    for folder, _, names in os.walk(directory):
        for name in names:
            os.utime(Path(folder) / name, (past, past), follow_symlinks=False)


def _contents(directory: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for folder, folders, names in os.walk(directory):
        for name in [*folders, *names]:
            path = Path(folder) / name
            key = str(path.relative_to(directory))
            if path.is_symlink():
                found[key] = ("link", str(path.readlink()))
            elif path.is_dir():
                found[key] = "directory"
            else:
                found[key] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return found


def test_what_goes_in_comes_out(store: Store, model: Path, tmp_path: Path) -> None:
    saved = store.checkpoint("mine", model)
    assert (saved.files, saved.read_files, saved.parent) == (5, 5, None)
    out = store.checkout("mine", tmp_path / "out")
    assert _contents(tmp_path / "out") == _contents(model)
    assert out.written_bytes == saved.size_bytes


def test_an_unchanged_directory_is_not_read_again(store: Store, model: Path) -> None:
    first = store.checkpoint("mine", model)
    for path in model.rglob("*.bin"):
        path.chmod(0o000)  # root may read it all the same; the count below is what tells
    second = store.checkpoint("mine", model)
    assert (second.read_files, second.parent) == (0, first.version)
    assert store.checkpoint("mine", model, rehash=True).read_files == 5


def test_only_what_changed_is_read(store: Store, model: Path) -> None:
    store.checkpoint("mine", model)
    (model / "zero").write_text("no more")
    assert store.checkpoint("mine", model).read_files == 1


def test_a_file_changed_within_the_clocks_grain_is_read_again(store: Store, model: Path) -> None:
    soon = time.time() + 5.25  # later than any moment at which the store can have read it
    os.utime(model / "zero", (soon, soon))
    store.checkpoint("mine", model)
    assert store.checkpoint("mine", model).read_files == 1


def test_without_a_path_the_last_place_is_saved(store: Store, model: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no directory is known"):
        store.checkpoint("mine")
    first = store.checkpoint("mine", model)
    assert store.checkpoint("mine").parent == first.version
    store.checkout("mine", tmp_path / "out")
    (tmp_path / "out" / "zero").write_text("edited")
    third = store.checkpoint("mine")
    assert b"".join(store.cat(f"mine@{third.version}", "zero")) == b"edited"


def test_a_checkpoint_of_an_old_checkout_descends_from_it(store: Store, model: Path, tmp_path: Path) -> None:
    first = store.checkpoint("mine", model)
    (model / "zero").write_text("second")
    store.checkpoint("mine", model)
    store.checkout(f"mine@{first.version}", tmp_path / "old")
    (tmp_path / "old" / "zero").write_text("a branch")
    assert store.checkpoint("mine", tmp_path / "old").parent == first.version


def test_the_engine_is_told_what_a_checkpoint_was_made_from(
    store: Store, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(Transaction, "came_from", lambda _, version: told.append(version.hex))
    first = store.checkpoint("mine", model)
    assert told == []
    (model / "zero").write_text("second")
    second = store.checkpoint("mine", model)
    store.checkpoint("other", model, base=f"mine@{first.version}")
    assert (second.parent, told) == (first.version, [first.version] * 2)


def test_a_single_file(store: Store, model: Path, tmp_path: Path) -> None:
    store.checkpoint("one", model / "weights.bin")
    store.checkout("one", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["weights.bin"]


def test_labels_of_versions(store: Store, model: Path) -> None:
    first = store.checkpoint("mine", model, message="first", tags=["v1", "good"])
    second = store.checkpoint("mine", model, message="second")
    assert [version.message for version in store.versions("mine")] == ["second", "first"]
    assert store.versions("mine")[1].tags == ("v1", "good")
    for label, wanted in [("v1", first), ("~1", first), ("~0", second), (first.version[:10], first)]:
        store.tag(f"mine@{label}", f"same-as-{label.strip('~')}")
        tagged = {tag: version.version for version in store.versions("mine") for tag in version.tags}
        assert tagged[f"same-as-{label.strip('~')}"] == wanted.version
    with pytest.raises(UnknownVersionError):
        store.checkout("mine@~2")
    with pytest.raises(UnknownVersionError):
        store.checkout("mine@nothing")


def test_a_tag_does_not_move(store: Store, model: Path) -> None:
    store.checkpoint("mine", model, tags=["v1"])
    with pytest.raises(InvalidInputError, match="does not move"):
        store.checkpoint("mine", model, tags=["v1"])
    assert len(store.versions("mine")) == 1
    store.checkpoint("mine", model)
    with pytest.raises(InvalidInputError, match="does not move"):
        store.tag("mine", "v1")


@pytest.mark.parametrize("name", ["ada-002", "embedding-ada-002", "sentence-transformers/all-MiniLM-L6-v2"])
def test_a_name_of_the_registry_is_refused(store: Store, model: Path, name: str) -> None:
    with pytest.raises(NameTakenError, match="taken"):
        store.checkpoint(name, model)


def test_a_pulled_name_is_refused(store: Store, hub: FakeHub, model: Path) -> None:
    hub.add("org/name", {"config.json": b"{}"})
    store.pull(["org/name"], PullOptions(low_priority=False))
    with pytest.raises(NameTakenError, match="org/name"):
        store.checkpoint("org/name", model)


@pytest.mark.parametrize("name", ["", "../x", "a/b/c", "a b", "-x", "a\n", "x" * 200])
def test_what_cannot_be_a_name_is_refused(store: Store, model: Path, name: str) -> None:
    with pytest.raises(InvalidInputError):
        store.checkpoint(name, model)


def test_what_cannot_be_saved_is_refused_and_nothing_kept(store: Store, model: Path, tmp_path: Path) -> None:
    os.mkfifo(model / "fifo")
    with pytest.raises(InvalidInputError, match="fifo"):
        store.checkpoint("mine", model)
    (model / "fifo").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(model / "socket"))
        with pytest.raises(InvalidInputError, match="socket"):
            store.checkpoint("mine", model)
    (model / "socket").unlink()
    (model / "out").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInputError, match="out"):
        store.checkpoint("mine", model)
    (model / "out").unlink()
    with pytest.raises(NotFoundError):
        store.checkpoint("mine", tmp_path / "nowhere")
    assert store.versions() == []
    assert not store.directory.exists()


def test_the_store_inside_the_directory_is_refused(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store("model/store")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a").write_text("a")
    with pytest.raises(InvalidInputError, match="store"):
        store.checkpoint("mine", tmp_path / "model")


def test_restore_brings_the_place_back(store: Store, model: Path) -> None:
    before = _contents(model)
    store.checkpoint("mine", model)
    (model / "zero").write_text("spoilt")
    (model / "weights.bin").unlink()
    store.restore("mine", force=True)
    assert _contents(model) == before


def test_a_directory_pulled_again_unchanged_makes_no_version(store: Store, model: Path) -> None:
    options = PullOptions(name="mine", low_priority=False)
    (first,), (second,) = (store.pull([str(model)], options) for _ in range(2))
    assert (first.status, second.status, second.version) == ("completed", "cached", first.version)
    assert len(store.versions("mine")) == 1


def test_a_gzip_file_pulled_again_unchanged_makes_no_version(store: Store, tmp_path: Path) -> None:
    options = PullOptions(name="mine", low_priority=False)
    for content, status, versions in ((b"one", "completed", 1), (b"one", "cached", 1), (b"two", "completed", 2)):
        (tmp_path / "weights.bin.gz").write_bytes(gzip.compress(content))
        (pulled,) = store.pull([str(tmp_path / "weights.bin.gz")], options)
        assert (pulled.status, len(store.versions("mine"))) == (status, versions)


@pytest.mark.parametrize("path", [".", "weights.bin"])
def test_a_dry_run_of_a_local_pull_stores_nothing(store: Store, model: Path, path: str) -> None:
    (planned,) = store.pull([str(model / path)], PullOptions(name="mine", dry_run=True, low_priority=False))
    assert (planned.status, planned.version) == ("completed", None)
    assert planned.size_bytes >= 100_000
    assert store.versions() == []
    assert store.stats().chunks == 0


@pytest.mark.parametrize("option", [{"include": ("*.json",)}, {"exclude": ("*.json",)}, {"revision": "v1"}])
def test_what_only_the_hub_has_is_refused_for_a_directory(store: Store, model: Path, option: dict[str, Any]) -> None:
    (pulled,) = store.pull([str(model)], PullOptions(name="mine", low_priority=False, **option))
    assert pulled.error is not None
    assert f"--{next(iter(option))}" in pulled.error.message
    assert store.versions() == []


def test_a_checksum_of_a_hub_model_is_refused_not_ignored(store: Store, hub: FakeHub) -> None:
    hub.add("org/name", {"config.json": b"{}"})
    (pulled,) = store.pull(["org/name"], PullOptions(checksum="sha256:" + "0" * 64, low_priority=False))
    assert pulled.error is not None
    assert "--checksum" in pulled.error.message


@pytest.mark.parametrize("since", ["999999999w", "0001-01-01", "9999-12-31"])
def test_verify_since_any_time(store: Store, model: Path, since: str) -> None:
    store.checkpoint("mine", model)
    assert store.verify(data=True, since=since).ok


def test_a_dry_run_of_gc_counts_what_a_killed_pull_kept(store: Store, tmp_path: Path) -> None:
    store.checkpoint("mine", _file(tmp_path, "a", 1000))
    with Engine.open(tmp_path / "store") as engine, engine.writing() as transaction:
        transaction.keep(transaction.add_file(_file(tmp_path, "b", 50_000)).info)
        transaction.commit()
    planned = store.gc(dry_run=True)
    assert planned.reclaimed_bytes > 50_000
    assert store.gc().reclaimed_bytes == planned.reclaimed_bytes


def _file(directory: Path, name: str, size_bytes: int) -> Path:
    path = directory / name
    path.write_bytes(os.urandom(size_bytes))
    return path


def test_a_tag_set_while_a_checkpoint_reads_does_not_move(store: Store, model: Path) -> None:
    first = store.checkpoint("mine", model)
    (model / "weights.bin").write_bytes(b"changed")

    class Meanwhile(SilentProgress):
        def expect(self, files: int, size_bytes: int) -> None:
            store.tag(f"mine@{first.version}", "best")

    with pytest.raises(InvalidInputError, match="does not move"):
        store.checkpoint("mine", model, tags=["best"], progress=Meanwhile())
    assert [version.tags for version in store.versions("mine")] == [("best",)]


def before_the_commit(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> None:
    """Let another do something once the next operation has looked at everything, and holds no lock yet."""
    real = Transaction.commit

    def commit(transaction: Transaction) -> None:
        monkeypatch.setattr(Transaction, "commit", real)
        meanwhile()
        real(transaction)

    monkeypatch.setattr(Transaction, "commit", commit)


def test_of_two_who_set_one_tag_at_once_the_first_has_it(
    store: Store, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (store.checkpoint("mine", model).version for _ in range(2))
    before_the_commit(monkeypatch, lambda: store.tag(f"mine@{first}", "best"))
    with pytest.raises(InvalidInputError, match="does not move"):
        store.tag(f"mine@{second}", "best")
    before_the_commit(monkeypatch, lambda: store.tag(f"mine@{first}", "good"))
    with pytest.raises(InvalidInputError, match="does not move"):
        store.checkpoint("mine", model, tags=["good"])
    assert {version.version: version.tags for version in store.versions("mine")} == {
        first: ("best", "good"),
        second: (),
    }


def test_a_version_that_is_pinned_or_tagged_while_it_is_removed(
    store: Store, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = store.checkpoint("mine", model).version
    before_the_commit(monkeypatch, lambda: store.pin(f"mine@{version}"))
    with pytest.raises(InvalidInputError, match="pinned"):
        store.remove("mine")
    store.unpin("mine")
    before_the_commit(monkeypatch, lambda: store.tag(f"mine@{version}", "best"))
    store.remove("mine")
    with pytest.raises(UnknownModelError):
        store.checkout("mine@best")


def test_restore_of_a_file_touches_nothing_beside_it(store: Store, model: Path) -> None:
    before = _contents(model)
    store.checkpoint("all", model)
    store.checkpoint("one", model / "weights.bin")
    (model / "weights.bin").write_bytes(b"broken")
    store.restore("one", force=True)
    assert _contents(model) == before


def test_a_restored_file_is_still_what_the_next_checkpoint_takes(store: Store, model: Path) -> None:
    store.checkpoint("one", model / "weights.bin")
    (model / "weights.bin").unlink()
    store.restore("one", force=True)
    assert store.checkpoint("one").files == 1


def test_restore_of_a_directory_that_held_one_file_of_its_own_name(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "holder" / "same"
    directory.mkdir(parents=True)
    (directory / "same").write_text("{}")
    store.checkpoint("mine", directory)
    (directory / "same").unlink()
    directory.rmdir()
    store.restore("mine", force=True)
    assert (directory / "same").read_text() == "{}"


def test_restore_of_a_pulled_model_names_checkout_and_view(store: Store, hub: FakeHub) -> None:
    hub.add("org/name", {"config.json": b"{}"})
    store.pull(["org/name"], PullOptions(low_priority=False))
    with pytest.raises(InvalidInputError) as caught:
        store.restore("org/name")
    assert "checkout" in (caught.value.remedy or "")
    assert "view" in (caught.value.remedy or "")


def test_remove_pin_and_gc(store: Store, model: Path, tmp_path: Path) -> None:
    first = store.checkpoint("mine", model, pin=True)
    (model / "weights.bin").write_bytes(os.urandom(200_000))
    second = store.checkpoint("mine", model)
    with pytest.raises(InvalidInputError, match="pinned"):
        store.remove("mine")
    store.unpin(f"mine@{first.version}")
    removed = store.remove(f"mine@{second.version[:12]}")
    assert removed.freeable_bytes > 200_000
    store.tag(f"mine@{second.version}", "back")
    assert len(store.versions("mine")) == 2
    store.remove("mine")
    assert store.gc(dry_run=True).reclaimed_bytes > 300_000
    assert store.gc().reclaimed_bytes > 300_000
    assert list((tmp_path / "store" / "packs").iterdir()) == []
    with pytest.raises(UnknownModelError):
        store.versions("mine")
    with pytest.raises(UnknownModelError):
        store.tag(f"mine@{second.version}", "gone")


def test_gc_says_that_it_waits(store: Store, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "_SILENT_SECONDS", 0.0)
    store.checkpoint("mine", model)
    file = store.open("mine", "weights.bin")

    class Told(SilentProgress):
        def start(self, label: str, total_bytes: int | None) -> Task:
            assert (label, total_bytes) == ("waiting for other commands to end", None)
            file.close()
            return super().start(label, total_bytes)

    store.gc(progress=Told())
    assert file.closed


def test_gc_spares_what_another_name_needs(store: Store, model: Path, tmp_path: Path) -> None:
    store.checkpoint("one", model)
    store.checkpoint("two", model)
    store.remove("one")
    store.gc()
    store.checkout("two", tmp_path / "out")
    assert _contents(tmp_path / "out") == _contents(model)


def test_repair_without_an_index(store: Store, model: Path, tmp_path: Path) -> None:
    store.checkpoint("mine", model, tags=["v1"])
    removed = store.checkpoint("other", model)
    store.remove("other")
    store.close()
    for path in (tmp_path / "store").glob("index.sqlite3*"):
        path.unlink()
    repaired = store.repair()
    assert (repaired.recovered_versions, repaired.lost) == (1, ())
    assert [version.tags for version in store.versions()] == [("v1",)]
    assert removed.version not in {version.version for version in store.versions()}
    store.checkout("mine", tmp_path / "out")
    assert _contents(tmp_path / "out") == _contents(model)


def test_a_hub_snapshot_is_saved_as_files(store: Store, tmp_path: Path) -> None:
    repo = tmp_path / "hub" / "models--org--name"
    (repo / "blobs").mkdir(parents=True)
    (repo / "blobs" / "abc").write_text("{}")
    snapshot = repo / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    store.checkpoint("mine", snapshot)
    assert [(entry.path, entry.kind) for entry in store.ls("mine")] == [("config.json", "file")]  # type: ignore[union-attr]


def test_a_type_is_kept_by_later_versions_until_another_is_told(store: Store, model: Path) -> None:
    def found() -> list[str]:
        return [result.name for result in store.list(type="trading/predictor")]

    store.checkpoint("mine", model)
    assert found() == []
    store.checkpoint("mine", model, type="trading/predictor")
    store.checkpoint("mine", model)
    assert found() == ["mine"]
    store.checkpoint("mine", model, type="audio/stt")
    assert found() == []
    with pytest.raises(InvalidInputError, match="'poetry' is not a type of model"):
        store.checkpoint("other", model, type="poetry")
    assert [result.name for result in store.list()] == ["mine"]
