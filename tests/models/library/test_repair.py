"""repair heals from wherever an equal file lies, takes only bytes whose digests fit, and names what stays lost."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from casmodels.library import PullOptions, Store
from casmodels.results import RepairResult
from casmodels.views.checkouts import InTheWayError
from casstore.digests import sha256_digest
from casstore.errors import DamagedError, InvalidInputError, NotFoundError, StoreError
from casstore.frames import FrameKind
from casstore.index.rows import FrameRow
from casstore.packs import pack_path
from casstore.refs import RefKind
from casstore.testing.builders import noise
from casstore.testing.damage import Range, flip
from tests.hub import FakeHub
from tests.models.library.conftest import MakeStore
from tests.models.reading.weights import normal, rounded, safetensors_of

BIG = noise(1, 3_000_000)  # several chunks
FILES = {"weights.bin": BIG, "sub/config.json": b'{"a": 1}'}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "model", FILES)


def write(directory: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return directory


def frames(store: Store, kind: FrameKind, blob: bytes = BIG) -> list[FrameRow]:
    """The chunks or the recipe of a blob, or the trees or versions that are there."""
    engine = store._context.engine()
    rows = engine.engine.ledger.rows
    with engine.reading() as reader:
        info = reader.find_blob(sha256_digest(blob))
        versions = [ref.target for ref in reader.refs(RefKind.VERSION)]
        digests = {
            FrameKind.VERSION: lambda: [version.value for version in versions],
            FrameKind.TREE: lambda: [reader.version(version).tree.value for version in versions],
            FrameKind.RECIPE: lambda: [info.recipe.value] if info else [],
            FrameKind.CHUNK: lambda: [part.chunk for part in reader.recipe(info.recipe).parts] if info else [],
        }[kind]()
    return [row for digest in digests if (row := rows.frame(kind, digest)) is not None]


def harm(store: Store, row: FrameRow) -> None:
    """Flip a bit of a frame's payload."""
    path = pack_path(store.directory / "packs", row.pack)
    end = row.offset + row.length
    flip(Range(path, end - 1, end), random.Random(1))


def check_whole(store: Store, result: RepairResult, files: dict[str, bytes] = FILES, target: str = "mine") -> None:
    assert result.lost == ()
    assert {path: b"".join(store.cat(target, path)) for path in files} == files
    assert store.verify(data=True).ok
    assert store.repair().healed_chunks == 0  # and it stays so, whatever the index
    assert {path: b"".join(store.cat(target, path)) for path in files} == files


Healer = Callable[[Store, Path, Path], RepairResult]


def plainly(store: Store, _model: Path, _elsewhere: Path) -> RepairResult:
    return store.repair()


def from_a_copy(store: Store, model: Path, elsewhere: Path) -> RepairResult:
    model.rename(elsewhere)
    return store.repair([elsewhere.parent])


@pytest.mark.parametrize("heal", [plainly, from_a_copy])
@pytest.mark.parametrize("kind", [FrameKind.CHUNK, FrameKind.RECIPE, FrameKind.TREE])
def test_every_kind_that_files_can_give_back(
    store: Store, model: Path, tmp_path: Path, kind: FrameKind, heal: Healer
) -> None:
    store.checkpoint("mine", model)
    harm(store, frames(store, kind)[0])
    assert not store.verify(data=True).ok
    (tmp_path / "other").mkdir()
    result = heal(store, model, tmp_path / "other" / "here")
    assert result.healed_chunks == (kind is FrameKind.CHUNK)
    check_whole(store, result)


def test_a_tree_and_the_chunks_below_it(store: Store, model: Path) -> None:
    store.checkpoint("mine", model)
    harm(store, frames(store, FrameKind.CHUNK)[1])
    harm(store, frames(store, FrameKind.TREE)[0])
    check_whole(store, store.repair())


def test_a_versions_record_is_nowhere_else(store: Store, model: Path) -> None:
    version = store.checkpoint("mine", model).version
    harm(store, frames(store, FrameKind.VERSION)[0])
    (lost,) = store.repair([model]).lost
    assert (lost.model, lost.version, lost.path) == ("mine", version, None)


def test_a_directory_whose_version_is_damaged_can_be_saved_before_any_repair(store: Store, model: Path) -> None:
    first = store.checkpoint("mine", model).version
    store.checkpoint("mine", write(model, {"new": b"new"}))
    harm(store, frames(store, FrameKind.VERSION)[1])
    assert store.checkpoint("mine", write(model, {"new": b"newer"})).parent == first


def test_a_versions_record_that_is_lost_hides_no_other(store: Store, hub: FakeHub, model: Path) -> None:
    first = store.checkpoint("mine", model).version
    second = store.checkpoint("mine", write(model, {"new": b"new"})).version
    harm(store, frames(store, FrameKind.VERSION)[1])
    store.repair()
    lost, kept = store.versions()
    assert (lost.version, lost.damaged, lost.created, lost.files, lost.stored_bytes) == (
        *(second, "its record cannot be read"),
        *(None, None, None),
    )
    assert (kept.version, kept.damaged, kept.files) == (first, None, 2)
    assert [(each.name, each.versions, each.damaged) for each in store.list()] == [("mine", 2, 1)]
    assert store.stats().versions == 2
    assert b"".join(store.cat(f"mine@{first}", "weights.bin")) == BIG
    with pytest.raises(DamagedError, match="record") as raised:
        b"".join(store.cat("mine", "weights.bin"))  # nobody asked for an older one
    assert raised.value.remedy is not None
    assert second[:12] in raised.value.remedy
    third = store.checkpoint("mine", model)
    assert third.parent == first
    store.remove(f"mine@{second[:12]}")
    assert store.repair().lost == ()
    assert {version.version for version in store.versions()} == {first, third.version}


@pytest.mark.parametrize("repaired", [False, True])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (FrameKind.VERSION, "its record cannot be read"),
        (FrameKind.TREE, "its list of files cannot be read"),
        (FrameKind.RECIPE, "the record of one of its files cannot be read"),
    ],
)
def test_damaged_versions_are_listed_beside_the_others(
    store: Store, model: Path, kind: FrameKind, said: str, repaired: bool
) -> None:
    store.checkpoint("other", write(model.with_name("other"), {"a": b"a"}))
    lost = store.checkpoint("mine", model, tags=["best"]).version
    harm(store, frames(store, kind)[-1])
    shutil.rmtree(model)
    if repaired:
        store.repair()
    of_other = next(each for each in store.list() if each.name == "other")
    assert (of_other.damaged, store.versions("other")[0].damaged) == (0, None)
    assert of_other.stored_bytes == store.versions("other")[0].stored_bytes
    (version,) = store.versions("mine")
    (mine,) = [each for each in store.list() if each.name == "mine"]
    if kind is FrameKind.RECIPE and repaired:  # set aside: the file is missing, and `verify` says so
        assert store.verify("mine").damaged[0].path == "weights.bin"
        return
    assert (version.version, version.tags, version.damaged) == (lost, ("best",), said)
    assert (version.created is None, version.message is None) == (kind is FrameKind.VERSION,) * 2
    assert (version.files is None, version.size_bytes is None) == (kind is not FrameKind.RECIPE,) * 2
    assert version.stored_bytes is None
    assert (mine.versions, mine.damaged) == (1, 1)
    assert bool(mine.stored_bytes) == (kind is FrameKind.RECIPE)  # its other files count


def test_a_pack_that_is_gone(store: Store, model: Path, tmp_path: Path) -> None:
    store.checkpoint("mine", model)
    (first,) = (store.directory / "packs").iterdir()
    write(model, {"new.bin": noise(2, 1_000_000)})
    second = store.checkpoint("mine", model).version
    first.unlink()
    (lost,) = store.repair().lost  # the version before had no new.bin, but is otherwise the same
    assert lost.path is None
    assert b"".join(store.cat(f"mine@{second}", "weights.bin")) == BIG


def test_from_a_checkout_and_from_a_view(store: Store, hub: FakeHub, model: Path, tmp_path: Path) -> None:
    store.checkpoint("mine", model)
    store.checkout("mine", tmp_path / "out")
    shutil.rmtree(model)
    harm(store, frames(store, FrameKind.CHUNK)[0])
    check_whole(store, store.repair())

    pulled = noise(3, 2_000_000)
    hub.add("org/name", {"model.bin": pulled})
    store.pull(["org/name"], PullOptions(low_priority=False))
    store.view(["org/name"])
    harm(store, frames(store, FrameKind.CHUNK, pulled)[0])
    check_whole(store, store.repair(), {"model.bin": pulled}, "org/name")


def test_checkouts_and_views_are_still_known(store: Store, model: Path, tmp_path: Path) -> None:
    store.checkpoint("mine", model)
    write(model, {"new": b"new"})
    store.checkpoint("mine", model)
    out = tmp_path / "out"
    store.checkout("mine", out)
    store.view(["mine"], path=tmp_path / "view")
    views_bytes = store.stats().views_bytes
    shutil.rmtree(model)
    store.repair()
    assert store.stats().views_bytes == views_bytes > 0
    assert store.checkpoint("mine").unchanged  # the place last checked out to
    assert store.checkpoint("mine").read_files == 0
    assert store.checkout("mine@~3", out).written_bytes == 0
    assert sorted(path.name for path in out.iterdir()) == ["sub", "weights.bin"]
    assert store.remove_view(["mine"], tmp_path / "view").kept == ()
    assert not (tmp_path / "view").exists()


@pytest.mark.parametrize("kind", [FrameKind.CHUNK, FrameKind.RECIPE, FrameKind.TREE])
def test_pulling_again_heals(store: Store, hub: FakeHub, kind: FrameKind) -> None:
    hub.add("org/name", {"model.bin": BIG})
    store.pull(["org/name"], PullOptions(low_priority=False))
    harm(store, frames(store, kind)[0])
    assert store.repair().lost
    (pulled,) = store.pull(["org/name"], PullOptions(low_priority=False))
    assert pulled.error is None
    check_whole(store, store.repair(), {"model.bin": BIG}, "org/name")


def test_only_bytes_whose_digests_fit_are_taken(store: Store, model: Path, tmp_path: Path) -> None:
    store.checkpoint("mine", model)
    chunks = frames(store, FrameKind.CHUNK)
    harm(store, chunks[0])
    harm(store, chunks[-1])
    # Two copies, each of them wrong somewhere: the one at its end, the other at its beginning.
    shutil.rmtree(model)
    write(
        tmp_path / "copies", {"one": BIG[:-1] + b"\0" + b"", "other": b"\0" + BIG[1:], "same-size": noise(9, len(BIG))}
    )
    result = store.repair([tmp_path / "copies" / "same-size"])
    assert [(lost.path, lost.chunk) for lost in result.lost] == [
        ("weights.bin", f"blake3:{row.digest.hex()}") for row in (chunks[0], chunks[-1])
    ]
    result = store.repair([tmp_path / "copies" / "one"])
    assert (result.healed_chunks, len(result.lost)) == (1, 1)
    with pytest.raises(StoreError):
        b"".join(store.cat("mine", "weights.bin"))
    check_whole(store, store.repair([tmp_path / "copies"]))


def test_a_tensor_in_another_file(store: Store, tmp_path: Path) -> None:
    tensor = normal(100, 200)
    mine = {"model.safetensors": safetensors_of({"w": tensor})}
    store.checkpoint("mine", write(tmp_path / "mine", mine))
    shutil.rmtree(tmp_path / "mine")
    harm(store, max(frames(store, FrameKind.CHUNK, mine["model.safetensors"]), key=lambda row: row.raw_length))
    assert store.repair().lost
    other = safetensors_of({"another": normal(5000, seed=7), "w": tensor})
    write(tmp_path / "elsewhere", {"deep/down/x": other})
    check_whole(store, store.repair([tmp_path / "elsewhere"]), mine)


def test_what_stands_on_a_base_is_whole_when_the_base_is(store: Store, tmp_path: Path) -> None:
    base, tuned = normal(100, 200), normal(100, 200) * np.float32(1.0001)
    files = {
        "base": {"model.safetensors": safetensors_of({"w": base})},
        "tuned": {"model.safetensors": safetensors_of({"w": tuned})},
        "cast": {"model.safetensors": safetensors_of({"w": rounded(tuned)}, {"w": "BF16"})},
    }
    for name, content in files.items():
        store.checkpoint(name, write(tmp_path / name, content))
    shutil.rmtree(tmp_path / "tuned")
    shutil.rmtree(tmp_path / "cast")
    row = max(frames(store, FrameKind.CHUNK, files["base"]["model.safetensors"]), key=lambda row: row.raw_length)
    assert any(each.base == row.digest for each in frames(store, FrameKind.CHUNK, files["tuned"]["model.safetensors"]))
    harm(store, row)
    assert {damage.model for damage in store.verify(data=True).damaged} >= {"base", "tuned"}
    result = store.repair()
    for name, content in files.items():
        check_whole(store, result, content, name)


def test_copies_that_cannot_be_read_are_named(store: Store, model: Path, tmp_path: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("root may read everything")
    store.checkpoint("mine", model)
    harm(store, frames(store, FrameKind.CHUNK)[0])
    shutil.copytree(model, tmp_path / "copy")
    shutil.rmtree(model)
    (tmp_path / "copy" / "weights.bin").chmod(0)
    result = store.repair([tmp_path / "copy"])
    assert result.unread == (str(tmp_path / "copy" / "weights.bin"),)
    assert len(result.lost) == 1


@pytest.mark.parametrize("what", ["missing", "fifo", "store", "packs"])
def test_sources_that_make_no_sense(store: Store, model: Path, tmp_path: Path, what: str) -> None:
    store.checkpoint("mine", model)
    os.mkfifo(tmp_path / "fifo")
    path = {"store": store.directory, "packs": store.directory / "packs"}.get(what, tmp_path / what)
    with pytest.raises(NotFoundError if what == "missing" else InvalidInputError, match=str(path)):
        store.repair([path])


def test_strange_files_and_loops_on_the_way(store: Store, model: Path, tmp_path: Path, make_store: MakeStore) -> None:
    store.checkpoint("mine", model)
    harm(store, frames(store, FrameKind.CHUNK)[0])
    harm(store, frames(store, FrameKind.TREE)[0])
    copy = tmp_path / "copy"
    model.rename(copy)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "self").symlink_to("self")
    check_whole(store, store.repair([tmp_path]))  # the store lies there, too


def test_what_a_checkout_wrote_is_the_stores_after_a_repair(store: Store, tmp_path: Path) -> None:
    """By its bytes alone the next checkout could tell it from a user's only in a directory of the same name."""
    out = tmp_path / "out"
    for name in ("alpha", "beta"):
        store.checkpoint(name, write(tmp_path / name, {"w.bin": name.encode(), f"only/{name}": b"here"}))
    store.checkout("alpha", out)
    store.repair()
    assert store.checkout("beta", out).kept == ()
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == {
        "w.bin": b"beta",
        "beta": b"here",
    }
    (out / "w.bin").write_bytes(b"edited")
    store.repair()
    with pytest.raises(InTheWayError):
        store.checkout("alpha", out)
