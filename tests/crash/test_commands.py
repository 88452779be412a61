"""A kill at any moment of a command leaves every finished version readable, with no hand-work."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from casmodels import config
from casmodels.library import PullOptions, Store
from casstore.testing.damage import Range, flip
from tests.hub import FakeHub

ROOT = Path(__file__).resolve().parent.parent.parent
SHORT, FULL = 4, 1


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as fake:
        fake.add("org/name", {f"file-{number}.bin": os.urandom(50_000 + number) for number in range(4)})
        yield fake


@pytest.fixture
def environ(hub: FakeHub, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config.toml").touch()
    return {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "CASMODELS_CONFIG": str(tmp_path / "config.toml"),
    }


@pytest.fixture
def work(tmp_path: Path, environ: dict[str, str]) -> Path:
    """A store with three versions, one of which is garbage for gc to take."""
    model = tmp_path / "model"
    model.mkdir()
    expected: dict[str, dict[str, str]] = {}
    with Store(config=config.load(store=tmp_path / "template", environ=environ)) as store:
        for name in ("kept", "garbage", "pulled"):
            if name == "pulled":
                store.pull(["org/name"], PullOptions(low_priority=False, include=("file-0.bin",)))
                continue
            for number in range(3):
                (model / f"{number}.bin").write_bytes(os.urandom(20_000))
            store.checkpoint(name, model)
            shutil.copytree(model, tmp_path / "copies" / name)
        store.remove("garbage")
        for version in store.versions():
            target = f"{version.name}@{version.version}"
            expected[target] = {
                entry.path: hashlib.sha256(b"".join(store.cat(target, entry.path))).hexdigest()
                for entry in store.ls(target)  # type: ignore[union-attr]
            }
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    return tmp_path


COMMANDS = {
    "checkpoint": ["checkpoint", "kept", "model"],
    "pull": ["pull", "org/name", "--workers", "2"],
    "gc": ["gc"],
    "compact": ["compact"],
    "remove": ["remove", "kept"],
    "repair": ["repair"],
    "heal": ["repair", "--from", "copies"],
}


def sweep(work: Path, environ: dict[str, str], step: int, command: list[str]) -> int:
    if "copies" in command:
        for pack in (work / "template" / "packs").iterdir():
            # The pulled model lies in no directory, so its pack stays whole.
            if (work / "copies" / "kept" / "0.bin").read_bytes()[:1000] in pack.read_bytes():
                flip(Range(pack, 200, 10_000), random.Random(1))
    arguments = [str(work / part) if part in ("model", "copies") else part for part in command]
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.command_sweep", str(work), str(step), *arguments],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_some_points(name: str, work: Path, environ: dict[str, str]) -> None:
    assert sweep(work, environ, SHORT, COMMANDS[name]) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_every_point(name: str, work: Path, environ: dict[str, str]) -> None:
    assert sweep(work, environ, FULL, COMMANDS[name]) >= SHORT
