"""Stores that earlier releases wrote: this one opens, reads, verifies, changes, rebuilds and collects them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from casstore.codecs import Codec
from tests.formats.stores.make import DIRECTORY, NAME, describe, open_store
from tests.models.reading.weights import safetensors_of, save

NOTES = sorted(DIRECTORY.glob("*.json"))


@pytest.fixture(params=NOTES, ids=[path.stem for path in NOTES])
def expected(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A copy of a store lies in ``tmp_path``; what is in it."""
    notes: Path = request.param
    with tarfile.open(notes.with_suffix(".tar.xz")) as tar:
        tar.extractall(tmp_path, filter="data")
    (tmp_path / "config.toml").touch()
    return json.loads(notes.read_text())


@pytest.fixture(params=["with its index", "without its index"])
def work(request: pytest.FixtureRequest, tmp_path: Path, expected: Any) -> Path:
    """The directory that the copy lies in."""
    if request.param == "without its index":
        for path in (tmp_path / "store").glob("index.sqlite3*"):
            path.unlink()
        with open_store(tmp_path) as store:
            assert store.repair().lost == ()
    return tmp_path


def test_there_is_one_of_this_release() -> None:
    assert NAME in [path.stem for path in NOTES], "python -m tests.formats.stores.make makes it"


def test_everything_is_in_it(expected: Any) -> None:
    assert {name.partition(" ")[0] for name in expected["codecs"]} == {
        codec.name for codec in Codec if codec <= Codec.CAST
    }
    assert expected["codecs"].keys() >= {"CAST of DELTA", "CAST of BYTEPLANE", "DELTA of BYTEPLANE"}
    assert {kind for kind, *_ in expected["refs"]} == {"version", "tag", "pin"}
    assert expected["removed"]
    assert expected["dead_chunks"]


def test_it_is_read_to_the_byte(work: Path, expected: Any) -> None:
    found = describe(work / "store")
    assert {**found, "release": expected["release"]} == expected
    assert_sound(work)


def test_it_is_written_to(work: Path, expected: Any) -> None:
    with open_store(work) as store:
        data = b"".join(store.cat("tuned", "model.safetensors"))
        words = np.frombuffer(data[-24_000:], "<f4")
        again = safetensors_of({"layer.weight": (words * np.float32(1 + 1e-6)).astype("<f4")})
        (work / "model").mkdir()
        version = save(store, "tuned", work / "model", {"model.safetensors": again, "copy.safetensors": data})
        store.tag(f"tuned@{version}", "later")
        store.remove("halves/base")
        assert b"".join(store.cat("tuned@later", "model.safetensors")) == again
        assert store.stats("tuned").by_codec["delta"]["chunks"] >= 1
    found = describe(work / "store")["files"]
    assert found.pop(f"tuned@{version}")
    assert found == {key: files for key, files in expected["files"].items() if not key.startswith("halves/base@")}
    assert_sound(work)


def test_it_is_collected_and_compacted(work: Path, expected: Any) -> None:
    with open_store(work) as store:
        collected = store.gc()
        store.compact()
    assert collected.chunks == expected["dead_chunks"]
    found = describe(work / "store")
    assert (found["refs"], found["files"]) == (expected["refs"], expected["files"])
    assert (found["removed"], found["dead_chunks"]) == ([], 0)
    assert_sound(work)
    with open_store(work) as store:
        store.repair()
    assert describe(work / "store") == found


def assert_sound(work: Path) -> None:
    with open_store(work) as store:
        checked = store.verify(data=True)
    assert checked.ok, checked.damaged
