"""The Hub's own client, offline, on a view: it must take it for a cache that it made itself."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from casmodels.views.checkouts import Checkout, checkout
from casmodels.views.hub_cache import HubView, Snapshot
from casmodels.views.sweeps import remove_models
from casstore.digests import Digest, git_blob_digest
from casstore.store import Store
from tests.models.serve.shelf import hub, put

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"hidden_size": 4}',
    "model.safetensors": b"w" * 40_000,
    "1_Pooling/config.json": b"{}",
    "vocab with space#.txt": "\u00e9\n".encode(),
    "empty.txt": b"",
}
LEFT_OUT = {"pytorch_model.bin": b"t" * 40_000}
Client = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", create=True) as opened:
        yield opened


def pulled(store: Store, name: str, files: dict[str, bytes], left_out: dict[str, bytes] | None = None) -> Digest:
    """A version as a pull from the Hub makes it."""
    upstream: dict[str, Any] = {}
    for path, data in (files | (left_out or {})).items():
        upstream[path] = {"size": len(data), "blob_id": git_blob_digest(data).hex}
        if path.endswith((".safetensors", ".bin")):
            upstream[path] |= {"blob_id": "e" * 40, "lfs_sha256": hashlib.sha256(data).hexdigest()}
    metadata = {"kind": "hub", "revision": COMMIT, "requested_revision": "main", "upstream_files": upstream}
    return put(store, name, files, metadata=metadata).id


def show(store: Store, home: Path, *wanted: tuple[str, Digest]) -> tuple[Snapshot, ...]:
    with store.reading() as reader:
        return HubView(home, store.path, store.places).add(reader, wanted).snapshots


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "my home"


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a Python program as a user would after `eval "$(casmodels view ...)"`."""

    def start(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        exports = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        return subprocess.run(
            [sys.executable, *arguments],
            env=plain | exports | variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return start


@pytest.fixture
def client(run: Callable[..., subprocess.CompletedProcess[str]]) -> Client:
    """Evaluates Python that leaves its answer in ``answer``, with the Hub's client at hand; warnings are errors."""

    def ask(program: str, **variables: str) -> Any:
        lines = ["import json, warnings", "from huggingface_hub import *", textwrap.dedent(program)]
        done = run("-W", "error", "-c", "\n".join([*lines, "print(json.dumps(answer))"]), **variables)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return json.loads(done.stdout)

    return ask


def test_the_client_finds_every_file(store: Store, home: Path, client: Client) -> None:
    (snapshot,) = show(store, home, ("org/name", pulled(store, "org/name", FILES)))
    found = client("""
        answer = [snapshot_download("org/name"), snapshot_download("org/name", local_files_only=True)]
        answer += [hf_hub_download("org/name", path) for path in ("config.json", "1_Pooling/config.json")]
        answer += [str(try_to_load_from_cache("org/name", "model.safetensors"))]
        answer += [sorted(file.path for file in get_cached_repo_tree("org/name"))]
    """)
    path = str(snapshot.path)
    assert path == f"{home}/hub/models--org--name/snapshots/{COMMIT}"
    assert found[:2] == [path, path]
    assert found[2:5] == [f"{path}/{name}" for name in ("config.json", "1_Pooling/config.json", "model.safetensors")]
    assert found[5] == sorted(FILES)
    assert {name: (snapshot.path / name).read_bytes() for name in FILES} == FILES


def test_scan_and_list_have_nothing_to_complain_about(
    store: Store, home: Path, client: Client, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    mine = put(store, "whisper-v1", {"w.bin": b"w" * 5_000, "a/b.txt": b"b"}, tag="best").id
    show(store, home, ("org/name", pulled(store, "org/name", FILES)), ("whisper-v1", mine))
    found = client("""
        info = scan_cache_dir()
        answer = [len(info.warnings), len(info.incomplete_files), info.size_on_disk]
        answer += [sorted([repo.repo_id, repo.repo_type, repo.nb_files, sorted(repo.refs)] for repo in info.repos)]
    """)
    size_bytes = sum(map(len, FILES.values())) + 5_001
    repos = [["org/name", "model", 5, ["main"]], ["whisper-v1", "model", 2, ["best", "main"]]]
    assert found == [0, 0, size_bytes, repos]
    listed = run("-m", "huggingface_hub.cli.hf", "cache", "ls")
    assert listed.returncode == 0
    assert "model/org/name" in listed.stdout
    assert "arning" not in listed.stdout + listed.stderr


def test_own_versions_are_found_by_tag_commit_and_main(store: Store, home: Path, client: Client) -> None:
    first = put(store, "mine", {"a.txt": b"1"}, tag="v1").id
    second = put(store, "mine", {"a.txt": b"2"}).id
    show(store, home, ("mine", second), ("mine", first))
    found = client(f"""
        from pathlib import Path
        answer = [Path(hf_hub_download("mine", "a.txt", revision=revision)).read_text()
                  for revision in (None, "v1", "{second.hex[:40]}", "{first.hex[:40]}")]
    """)
    assert found == ["2", "1", "2", "1"]


def test_of_a_partial_pull_the_client_says_what_is_missing(store: Store, home: Path, client: Client) -> None:
    (snapshot,) = show(store, home, ("org/name", pulled(store, "org/name", FILES, LEFT_OUT)))
    found = client("""
        from huggingface_hub.errors import IncompleteSnapshotError
        try:
            snapshot_download("org/name")
        except IncompleteSnapshotError as error:
            answer = [str(error), snapshot_download("org/name", ignore_patterns="*.bin")]
    """)
    assert "1 file(s) are missing (pytorch_model.bin)" in found[0]
    assert found[1] == str(snapshot.path)


def test_hf_cache_rm_frees_the_view_and_costs_the_store_nothing(
    store: Store, home: Path, tmp_path: Path, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    version = pulled(store, "org/name", FILES)
    show(store, home, ("org/name", version))
    with store.reading() as reader:
        wanted = Checkout("org/name", version, reader.tree(reader.version(version).tree))
        checkout(reader, store.places, store.path, wanted, tmp_path / "out")
    done = run("-m", "huggingface_hub.cli.hf", "cache", "rm", "model/org/name", "--yes")
    assert done.returncode == 0, done.stderr
    assert not (home / "hub/models--org--name").exists()
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == FILES
    (snapshot,) = show(store, home, ("org/name", version))
    assert {name: (snapshot.path / name).read_bytes() for name in FILES} == FILES


def test_online_the_client_downloads_nothing_and_verifies_all(
    store: Store, home: Path, client: Client, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    version = pulled(store, "org/name", FILES)
    (snapshot,) = show(store, home, ("org/name", version))
    inodes = {path.name: path.stat().st_ino for path in (snapshot.path.parents[1] / "blobs").iterdir()}
    with hub(store) as served:
        online = {"HF_ENDPOINT": served.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        assert client('answer = snapshot_download("org/name")', **online) == str(snapshot.path)
        done = run("-m", "huggingface_hub.cli.hf", "cache", "verify", "org/name", **online)
        assert done.returncode == 0, done.stdout + done.stderr
    assert inodes == {path.name: path.stat().st_ino for path in (snapshot.path.parents[1] / "blobs").iterdir()}


def test_what_the_client_adds_is_kept_when_the_view_goes(store: Store, home: Path, client: Client) -> None:
    version = pulled(store, "org/name", FILES, LEFT_OUT)
    whole = pulled(store, "org/whole", FILES | LEFT_OUT)
    (snapshot,) = show(store, home, ("org/name", version))
    with hub(store) as served:
        online = {"HF_ENDPOINT": served.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        client('answer = hf_hub_download("org/whole", "pytorch_model.bin")', **online)
        (snapshot,) = show(store, home, ("org/whole", whole))
    result = remove_models(HubView(home, store.path, store.places), store.places)
    blob = home / "hub/models--org--whole/blobs" / hashlib.sha256(LEFT_OUT["pytorch_model.bin"]).hexdigest()
    assert result.kept == (str(blob),)
    assert (snapshot.path / "pytorch_model.bin").read_bytes() == LEFT_OUT["pytorch_model.bin"]
    found = client("""
        info = scan_cache_dir()
        answer = [len(info.warnings), [repo.repo_id for repo in info.repos]]
    """)
    assert found == [0, ["org/whole"]]
