"""The real program on real stores: every command as a user types it, on tiny models."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.hub import FakeHub, Fault

REPO = "sentence-transformers/all-MiniLM-L6-v2"
PATIENCE_SECONDS = 60
pytestmark = pytest.mark.slow
NASTY = os.fsdecode(b"a b#%20\xc3\xa9\n\xff.txt")


def safetensors(seed: int, elements: int = 50_000) -> bytes:
    weights = np.random.default_rng(seed).standard_normal(elements).astype(np.float32).tobytes()
    tensor = {"dtype": "F32", "shape": [elements], "data_offsets": [0, len(weights)]}
    header = json.dumps({"weight": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + weights


WEIGHTS = safetensors(1)
COUNTED = b'casmodels_http_requests_total{method="GET",route="resolve",status="200"} 1.0\n'


@dataclass(frozen=True)
class Ran:
    """What a command left."""

    code: int
    out: bytes
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Program:
    """The program with a home, a store and a hub of its own."""

    home: Path
    environment: dict[str, str]

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "casmodels", *arguments],
            cwd=self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *arguments: str | Path, code: int = 0) -> Ran:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        ran = Ran(process.returncode, out, err.decode())
        assert ran.code == code, (ran.code, ran.out, ran.err)
        return ran

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        ran = self(*arguments, "--json", code=code)
        return ran.document


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        files = {"config.json": b"{}", "model.safetensors": WEIGHTS, "pytorch_model.bin": b"t" * 9000}
        hub.add(REPO, files)
        yield hub


@pytest.fixture
def casmodels(tmp_path: Path, hub: FakeHub) -> Program:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CASMODELS", "HF_", "XDG_"))}
    environment = {
        "CASMODELS_HOME": str(tmp_path / "store"),
        "HF_ENDPOINT": hub.url,
        "HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }
    return Program(tmp_path, {**kept, **environment})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "model.safetensors").write_bytes(WEIGHTS)
    (directory / "empty").touch()
    (directory / NASTY).write_bytes(b"nasty")
    (directory / "link").symlink_to("empty")
    return directory


def tree(directory: Path) -> dict[str, bytes | str]:
    paths = [path for path in directory.rglob("*") if path.is_symlink() or path.is_file()]
    return {
        str(path.relative_to(directory)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in paths
    }


def largest_file_bytes(directory: Path) -> int:
    """What files come and go while a pull works."""
    largest = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            largest = max(largest, path.stat().st_size if path.is_file() else 0)
    return largest


def test_save_look_and_take_out(casmodels: Program, model: Path) -> None:
    saved = casmodels.json("checkpoint", "mine", model, "-m", "first", "--tag", "best")
    assert (saved["name"], saved["files"], saved["parent"]) == ("mine", 3, None)
    listed = casmodels("ls", "mine").out
    assert rb"a b#%20\xc3\xa9\n\xff.txt" not in listed
    assert "a b#%20é\\n\\xff.txt".encode() in listed
    entries = {entry["path"]: entry for entry in casmodels.json("ls", "mine@best")}
    assert entries.keys() == {"model.safetensors", "empty", NASTY, "link"}
    assert entries["link"]["target"] == "empty"
    assert casmodels("cat", "mine", NASTY).out == b"nasty"
    assert casmodels("cat", "mine", "model.safetensors").out == WEIGHTS
    taken = casmodels.json("checkout", "mine@" + saved["version"][:8])
    assert (taken["files"], taken["written_bytes"]) == (3, saved["size_bytes"])
    assert tree(casmodels.home / "mine") == tree(model)
    assert b"all is well, every byte" in casmodels("verify", "--data").out


def test_versions_their_labels_and_their_end(casmodels: Program, model: Path) -> None:
    first = casmodels.json("checkpoint", "mine", model)["version"]
    (model / "empty").write_bytes(b"no longer")
    second = casmodels.json("checkpoint", "mine", "-m", "second", "--pin")["version"]
    casmodels("tag", "mine@~1", "before")
    versions = casmodels.json("versions", "mine")
    assert [version["version"] for version in versions] == [second, first]
    assert [version["tags"] for version in versions] == [[], ["before"]]
    assert casmodels("remove", "mine@~0", code=2).err.startswith(f"error: mine@{second[:12]} is pinned")
    casmodels("unpin", "mine")
    removed = casmodels("remove", "mine").out.decode()
    assert f"`casmodels tag mine@{second[:12]} TAG` brings it back" in removed
    casmodels("tag", f"mine@{second[:12]}", "back")
    assert [version["version"] for version in casmodels.json("versions")] == [second]
    casmodels("gc")
    assert "mine has no version" in casmodels("tag", f"mine@{first[:12]}", "late", code=3).err
    assert casmodels.json("verify", "--data")["ok"]


def test_restore_needs_a_yes(casmodels: Program, model: Path) -> None:
    before = tree(model)
    casmodels("checkpoint", "mine", model)
    (model / "empty").write_bytes(b"edited")
    casmodels("restore", "mine", code=2)
    assert tree(model) != before
    assert casmodels.json("restore", "mine", "--yes")["written_files"] == 1
    assert tree(model) == before


def test_pull_and_use(casmodels: Program, hub: FakeHub) -> None:
    ran = casmodels("pull", "ada-002")
    assert ran.out.decode().splitlines()[-1] == 'next: eval "$(casmodels view ada-002)"'
    assert b"left out 1 file" in ran.out
    (again,) = casmodels.json("pull", "ada-002")
    assert (again["status"], again["downloaded_bytes"], again["path"]) == ("cached", 0, None)
    exports = casmodels("view", "ada-002").out.decode().splitlines()
    assert exports == [f"export HF_HOME={casmodels.home / 'store-view'}", "export HF_HUB_OFFLINE=1"]
    path = Path(casmodels("path", "ada-002").out.decode().removesuffix("\n"))
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert casmodels.json("path", REPO) == {"path": str(path)}
    assert casmodels.json("view")["models"] == [REPO]
    assert casmodels.json("redownload", "ada-002")[0]["downloaded_bytes"] > len(WEIGHTS)
    assert casmodels("view", "--remove", "ada-002").out == b""
    assert not path.exists()


def test_what_is_known_and_here(casmodels: Program) -> None:
    assert casmodels("list").err.startswith("nothing is here yet")
    casmodels("pull", "ada-002", "-q")
    (here,) = casmodels.json("list")
    assert (here["name"], here["installed"]) == (REPO, True)
    assert len(casmodels.json("list", "--available", "--type", "text-embedding")) == 2
    assert {alias for entry in casmodels.json("aliases") for alias in entry["aliases"]} > {"ada-002", "mpnet-base"}
    assert casmodels.json("info", "ada-002")["repo"] == REPO
    assert "did you mean ada-002?" in casmodels("info", "ada-02", code=3).err
    assert casmodels.json("stats")["models"] == 1


def test_failed_pulls(casmodels: Program, hub: FakeHub) -> None:
    hub.add("org/gated", {"config.json": b"{}"}, gated=True)
    hub.add("org/wrong", {"model.safetensors": safetensors(2)})
    hub.fault("org/wrong/model.safetensors", Fault(flip=1000))
    assert "did you mean ada-002?" in casmodels("pull", "ada-02", code=3).err
    assert "org/wrong/model.safetensors" in casmodels("pull", "org/wrong", code=4).err
    results = casmodels.json("pull", "ada-002", "org/nothing", code=1)
    assert [result["status"] for result in results] == ["completed", "failed"]
    assert results[1]["error"]["kind"] == "missing-upstream"
    assert [entry["name"] for entry in casmodels.json("list")] == [REPO]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_interrupted_pull_goes_on_where_it_was(casmodels: Program, hub: FakeHub) -> None:
    weights = safetensors(3, 500_000)
    hub.add("org/slow", {"model.safetensors": weights})
    hub.fault("org/slow/model.safetensors", Fault(stall=(1_000_000, 600), times=1))
    with casmodels.start("pull", "org/slow") as process:
        while largest_file_bytes(casmodels.home / "store") < 900_000:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, err) == (130, b"interrupted; the next run resumes\n")
    (resumed,) = casmodels.json("pull", "org/slow")
    assert 0 < resumed["downloaded_bytes"] < len(weights)
    assert casmodels("cat", "org/slow", "model.safetensors").out == weights


def test_care(casmodels: Program, model: Path) -> None:
    assert casmodels("verify", code=5).err.startswith("error: there is no store at ")
    casmodels("checkpoint", "mine", model)
    (pack,) = (casmodels.home / "store").rglob("*.pack")
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)
    assert casmodels.json("verify")["ok"]
    found = casmodels.json("verify", "--data", code=4)
    assert [damage["path"] for damage in found["damaged"]] == ["model.safetensors"]
    assert "model.safetensors" in casmodels("checkout", "mine", "out", code=4).err
    model.rename(model.with_name("moved"))
    assert casmodels.json("repair", code=4)["lost"]
    assert "does not exist" in casmodels("repair", "--from", model, code=3).err
    assert casmodels.json("repair", "--from", model.with_name("moved"))["healed_chunks"] == 1
    assert casmodels.json("verify", "--data")["ok"]
    assert casmodels.json("cleanup", "--dry-run")["reclaimed_bytes"] == 0


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_serve(casmodels: Program, model: Path) -> None:
    casmodels("checkpoint", "mine", model)
    with casmodels.start("serve", "--metrics", "--port", "0") as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().split()[-1]
        with urllib.request.urlopen(f"{url}/mine/resolve/main/model.safetensors") as answer:
            assert answer.read() == WEIGHTS
        told, deadline = b"", time.monotonic() + 10
        while COUNTED not in told and time.monotonic() < deadline:  # it is counted once all is sent
            with urllib.request.urlopen(f"{url}/metrics") as answer:
                told = answer.read()
        assert COUNTED in told
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
