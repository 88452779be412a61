"""A folder of the program that had this interface before is taken in, and is itself not touched."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from casmodels import ModelDownloader, Store
from casmodels.library import PullOptions
from casmodels.results import TakeInResult
from casstore.errors import InvalidInputError, NotFoundError, StoreError
from tests.hub import FakeHub, git_blob_id, is_lfs
from tests.models.manager.leftovers import left_behind

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MPNET = "sentence-transformers/all-mpnet-base-v2"
WEIGHTS = os.urandom(300_000)
FILES = {"config.json": b'{"model_type": "bert"}', "model.safetensors": WEIGHTS, "1_Pooling/config.json": b"{}"}
COMMIT = "a" * 40


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = tmp_path / "slice_models"
    folder.mkdir()
    return folder


def write(directory: Path, files: dict[str, bytes] = FILES) -> Path:
    for path, data in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return directory


def write_cache(
    folder: Path, repo: str, files: dict[str, bytes] = FILES, commit: str = COMMIT, ref: str = "main"
) -> Path:
    """A repo as the Hub's client keeps it: blobs by their digests, links to them, refs."""
    top = folder / f"models--{repo.replace('/', '--')}"
    for path, data in files.items():
        name = hashlib.sha256(data).hexdigest() if is_lfs(path) else git_blob_id(data)
        write(top / "blobs", {name: data})
        link = top / "snapshots" / commit / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(top / "blobs" / name, link.parent))
    if ref:
        write(top / "refs", {ref: commit.encode()})
    return top


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything that may be seen of a folder from outside, times of reading aside."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_mode, b"" if path.is_dir() else path.read_bytes())
        for path in sorted(folder.rglob("*"))
    }


def take_in(downloader: ModelDownloader, folder: Path) -> list[TakeInResult]:
    before, threads = state(folder), set(threading.enumerate())
    results = asyncio.run(downloader.take_in(folder))
    assert state(folder) == before
    assert set(threading.enumerate()) <= threads
    return results


@pytest.mark.parametrize("below", ["", "hub", "embedding-ada-002"])
def test_a_hub_cache_is_taken_in_with_its_commit(
    downloader: ModelDownloader, hub: FakeHub, old: Path, cache: Path, below: str
) -> None:
    write_cache(old / below, MINILM)
    (result,) = take_in(downloader, old)
    assert (result.status, result.name, result.reason) == ("completed", MINILM, None)
    assert (result.files, result.size_bytes) == (3, sum(map(len, FILES.values())))
    assert downloader.is_model_downloaded("ada-002")
    with Store(cache / "store") as store:
        (version,) = store.versions("ada-002")
        assert (version.version, version.revision) == (result.version, COMMIT)
        assert {path: b"".join(store.cat(f"ada-002@{COMMIT}", path)) for path in FILES} == FILES
    assert hub.seen == []
    assert [(again.status, again.version) for again in take_in(downloader, old)] == [("cached", result.version)]


HUB_CLIENT = """
import sys
from huggingface_hub import snapshot_download
endpoint, folder, repo, local = sys.argv[1:]
snapshot_download(repo, endpoint=endpoint, token=False, **{"local_dir" if local else "cache_dir": local or folder})
"""


@pytest.mark.parametrize("local", ["", "ada-002"])
def test_what_the_hubs_own_client_has_made_is_taken_in(
    downloader: ModelDownloader, hub: FakeHub, old: Path, cache: Path, local: str
) -> None:
    commit = hub.add(MINILM, FILES)
    directory = str(old / local) if local else ""
    environment = {"PATH": os.environ["PATH"], "HOME": str(old.parent), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    subprocess.run(
        [sys.executable, "-c", HUB_CLIENT, hub.url, str(old), MINILM, directory],
        env=environment,
        check=True,
        timeout=120,
    )
    results = take_in(downloader, old)
    assert [result.name for result in results if result.status == "completed"] == [MINILM]
    assert {result.status for result in results} <= {"completed", "left-out"}
    with Store(cache / "store") as store:
        assert [version.revision for version in store.versions()] == [None if local else commit]
        assert {entry.path for entry in store.ls("ada-002")} == set(FILES)  # type: ignore[union-attr]
    hub.forget()
    result = asyncio.run(downloader.download_model("ada-002"))
    assert (result.status, result.downloaded_bytes) == ("completed", 0)
    assert hub.downloads() == []


@pytest.mark.parametrize(
    "name",
    [
        "ada-002",
        "embedding-ada-002",
        "Text-Embedding-ADA-002",
        "sentence-transformers--all-MiniLM-L6-v2",
        "sentence-transformers_all-MiniLM-L6-v2",
        "sentence-transformers/all-MiniLM-L6-v2",
    ],
)
def test_a_directory_is_known_by_its_name(downloader: ModelDownloader, old: Path, cache: Path, name: str) -> None:
    write(old / name)
    write(old / name / ".cache/huggingface", {"download/config.json.metadata": b"x"})
    write(old / name / ".git", {"HEAD": b"x"})
    (result,) = take_in(downloader, old)
    assert (result.path, result.status, result.name) == (str(old / name), "completed", MINILM)
    assert downloader.is_model_downloaded("ada-002")
    with Store(cache / "store") as store:
        assert sorted(entry.path for entry in store.ls("ada-002")) == sorted(FILES)  # type: ignore[union-attr]
    assert [again.status for again in take_in(downloader, old)] == ["cached"]


def test_a_later_download_fetches_only_what_differs_or_is_missing(
    downloader: ModelDownloader, hub: FakeHub, old: Path
) -> None:
    commit = hub.add(MINILM, FILES)
    write(old / "ada-002", {path: FILES[path] for path in ("config.json", "model.safetensors")} | {"notes.txt": b"x"})
    write_cache(old, MPNET, {"config.json": b"old", "model.safetensors": WEIGHTS}, commit)
    hub.add(MPNET, FILES, commit=commit)
    assert [result.status for result in take_in(downloader, old)] == ["completed", "completed"]
    hub.forget()
    first, second = asyncio.run(downloader.download_multiple_models(["ada-002", "mpnet-base"]))
    fetched = [seen.path.partition("/resolve/")[2][41:] for seen in hub.downloads()]
    # What the two models share came with the first of them.
    assert fetched == ["1_Pooling/config.json"]
    for result in (first, second):
        assert (result.status, result.error) == ("completed", None)
        assert result.path is not None
        assert {path: Path(result.path, path).read_bytes() for path in FILES} == FILES
    assert str(asyncio.run(downloader.download_model("mpnet-base")).status) == "cached"


def test_offline_what_was_taken_in_is_enough(
    environment: dict[str, str], old: Path, cache: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write(old / "ada-002")
    with ModelDownloader(cache_dir=cache) as downloader:
        take_in(downloader, old)
        result = asyncio.run(downloader.download_model("ada-002"))
    assert (result.status, result.error) == ("cached", None)
    assert result.path is not None
    assert Path(result.path, "model.safetensors").read_bytes() == WEIGHTS
    assert hub.seen == []


def test_offline_a_directory_that_was_pulled_under_the_name_of_the_repo_is_enough(
    environment: dict[str, str], old: Path, cache: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write(old / "ada-002")
    with Store(cache / "store") as store:
        store.pull([str(old / "ada-002")], PullOptions(name=MINILM, low_priority=False))
    with ModelDownloader(cache_dir=cache) as downloader:
        assert downloader.is_model_downloaded("ada-002")
        result = asyncio.run(downloader.download_model("ada-002"))
    assert (result.status, result.error) == ("cached", None)
    assert result.path is not None
    assert Path(result.path, "model.safetensors").read_bytes() == WEIGHTS
    assert hub.seen == []


def test_of_several_snapshots_main_is_the_model(downloader: ModelDownloader, old: Path, cache: Path) -> None:
    write_cache(old, MINILM, FILES | {"config.json": b"main"})
    write_cache(old, MINILM, FILES | {"config.json": b"v1"}, "b" * 40, "v1")
    write_cache(old, MINILM, FILES | {"config.json": b"nameless"}, "c" * 40, "")
    assert [result.status for result in take_in(downloader, old)] == ["completed"] * 3
    with Store(cache / "store") as store:
        for name, text in (("ada-002", b"main"), ("ada-002@v1", b"v1"), ("ada-002@ccccccc", b"nameless")):
            assert b"".join(store.cat(name, "config.json")) == text
    assert [result.status for result in take_in(downloader, old)] == ["cached"] * 3


def test_what_the_store_has_from_the_hub_is_left_as_it_is(downloader: ModelDownloader, hub: FakeHub, old: Path) -> None:
    hub.add(MINILM, FILES)
    asyncio.run(downloader.download_model("ada-002"))
    write(old / "ada-002", {"config.json": b"an older one", "pytorch_model.bin": b"x" * 100})
    (result,) = take_in(downloader, old)
    assert (result.status, result.name) == ("cached", MINILM)
    assert str(asyncio.run(downloader.download_model("ada-002")).status) == "cached"


def test_what_is_no_model_is_left_out_and_said_why(downloader: ModelDownloader, old: Path) -> None:
    write(old / "ada-002")
    write(old, {"registry.json": b"{}"})
    write(old / "notes", {"readme.txt": b"x"})
    write(old / "my_own_model")
    write(old / "plain")
    (old / "mpnet-base").mkdir()
    write(old / "models--org--name/blobs", {"x": b"x"})
    write(old / "datasets--org--data/snapshots" / COMMIT, {"config.json": b"{}"})
    write(old / ".locks/models--org--name", {"x.lock": b""})
    write_cache(old / "hub", "org/readme", {"README.md": b"x"})
    results = {Path(result.path).relative_to(old).as_posix(): result for result in take_in(downloader, old)}
    taken = {path for path, result in results.items() if result.status == "completed"}
    assert taken == {"ada-002"}
    assert {path: result.reason for path, result in results.items() if result.status == "left-out"} == {
        ".locks/models--org--name": "it has no snapshot",
        "datasets--org--data": "it is one of the Hub's datasets, not a model",
        f"hub/models--org--readme/snapshots/{COMMIT}": "it holds no config.json and no weights",
        "models--org--name": "it has no snapshot",
        "mpnet-base": "it holds no config.json and no weights",
        "my_own_model": results["plain"].reason,
        "notes": "it holds no config.json and no weights",
        "plain": "its name is neither a registered model's nor a Hub id; `casmodels pull DIR --name NAME` takes it in",
        "registry.json": "it is a file, and models are directories",
    }


def test_a_damaged_blob_a_lost_one_and_a_fifo_fail_and_stop_nobody(
    downloader: ModelDownloader, old: Path, cache: Path
) -> None:
    damaged = write_cache(old, "org/damaged")
    weights = damaged / "blobs" / hashlib.sha256(WEIGHTS).hexdigest()
    weights.write_bytes(WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1]))
    lost = write_cache(old, "org/lost")
    (lost / "blobs" / hashlib.sha256(WEIGHTS).hexdigest()).unlink()
    write(old / "org--fifo")
    os.mkfifo(old / "org--fifo/fifo")
    write(old / "org--outside")
    (old / "org--outside/link").symlink_to("/etc/passwd")
    write(old / "sentence-transformers--all-MiniLM-L6-v2")
    threads = set(threading.enumerate())
    results = asyncio.run(downloader.take_in(old))
    assert {str(result.name): str(result.status) for result in results} == {
        "org/damaged": "failed",
        "org/lost": "failed",
        "org/fifo": "failed",
        "org/outside": "failed",
        MINILM: "completed",
    }
    reasons = {result.name: result.reason or "" for result in results}
    assert "has digest" in reasons["org/damaged"]
    assert "stands for a blob that the Hub cache does not have" in reasons["org/lost"]
    assert "is a fifo" in reasons["org/fifo"]
    assert "remove the link" in reasons["org/outside"]
    assert [model.name for model in downloader.list_models()] == [MINILM]
    assert left_behind(cache, threads) == []


@pytest.mark.parametrize(
    ("folder", "kind", "said"),
    [
        ("missing", NotFoundError, "does not exist"),
        ("empty", InvalidInputError, "is empty"),
        ("file", InvalidInputError, "is not a folder of models"),
        ("", InvalidInputError, "holds, or lies in, this store's own"),
        ("cache/store/packs", InvalidInputError, "holds, or lies in, this store's own"),
        ("cache/store-view", InvalidInputError, "holds, or lies in, this store's own"),
        ("~nobody-is-called-so/x", InvalidInputError, "names no user's home directory"),
    ],
)
def test_a_folder_that_cannot_be_one_is_refused_in_one_sentence(
    downloader: ModelDownloader, hub: FakeHub, tmp_path: Path, folder: str, kind: type[StoreError], said: str
) -> None:
    hub.add(MINILM, FILES)
    asyncio.run(downloader.download_model("ada-002"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(kind, match=said) as raised:
        asyncio.run(downloader.take_in(folder if folder.startswith("~") else tmp_path / folder))
    assert "\n" not in str(raised.value)


def test_without_a_word_it_is_the_old_programs_folder(
    downloader: ModelDownloader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / ".cache/slice_models/ada-002")
    assert [result.name for result in asyncio.run(downloader.take_in())] == [MINILM]


def test_a_cancelled_taking_in_leaves_nothing_unfinished(
    downloader: ModelDownloader, old: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    from casstore import pipeline

    threads = set(threading.enumerate())
    write(old / "ada-002", FILES | {"model.safetensors": os.urandom(8_000_000)})
    begun = threading.Event()
    code = pipeline._code_piece

    def slowly(*given: object) -> object:
        begun.set()
        time.sleep(0.3)
        return code(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "_code_piece", slowly)

    async def main() -> None:
        task = asyncio.create_task(downloader.take_in(old))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert left_behind(cache, threads) == []
    assert downloader.list_models() == []
