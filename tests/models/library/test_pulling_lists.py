from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from casmodels.errors import ConfigurationError
from casmodels.library import PullOptions, Store
from casmodels.results import PullResult, PullStatus
from casstore.errors import NotFoundError
from tests.hub import FakeHub

WEIGHTS = os.urandom(200_000)
FILES = {
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": os.urandom(100_000),
    "weights[1].pt": b"odd",
    "README.md": b"#",
}


def checksum(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def whisper(**changed: object) -> dict[str, Any]:
    return {
        "name": "whisper-tiny",
        "type": "audio/stt",
        "source": "huggingface",
        "repo": "openai/whisper-tiny",
        "files": ["model.safetensors", "config.json"],
        "size_mb": 151,
        "checksum": checksum(WEIGHTS),
        **changed,
    }


def yolo(hub: FakeHub, **changed: object) -> dict[str, Any]:
    hub.files["/yolov8n.pt"] = b"detector"
    return {
        "name": "yolov8n",
        "type": "vision/detection",
        "source": "ultralytics",
        "url": f"{hub.url}/yolov8n.pt",
        "size_mb": 6.2,
        **changed,
    }


def pull(store: Store, directory: Path, *entries: object, **options: Any) -> list[PullResult]:
    path = directory / "download_list.json"
    path.write_text(json.dumps({"models": entries}, indent=1))
    return store.pull_list(path, PullOptions(low_priority=False, **options))


@pytest.fixture
def upstream(hub: FakeHub) -> FakeHub:
    hub.add("openai/whisper-tiny", FILES)
    return hub


def test_the_list_of_the_program_before_is_pulled(store: Store, upstream: FakeHub, tmp_path: Path) -> None:
    results = pull(store, tmp_path, whisper(), yolo(upstream))
    assert [(result.model, result.status, result.files) for result in results] == [
        ("whisper-tiny", PullStatus.COMPLETED, 2),
        ("yolov8n", PullStatus.COMPLETED, 1),
    ]
    assert (tmp_path / "whisper-tiny").exists() is False
    for name, path, data in (
        ("whisper-tiny", "model.safetensors", WEIGHTS),
        ("yolov8n", "yolov8n.pt", b"detector"),
    ):
        store.checkout(name, tmp_path / name)
        assert (tmp_path / name / path).read_bytes() == data
    types = {name: store.info(name)[0].type for name in ("whisper-tiny", "yolov8n")}
    assert types == {"whisper-tiny": "audio/stt", "yolov8n": "vision/detection"}
    assert sorted(path.name for path in (tmp_path / "whisper-tiny").iterdir()) == ["config.json", "model.safetensors"]


def test_again_nothing_is_fetched_and_no_version_made(store: Store, upstream: FakeHub, tmp_path: Path) -> None:
    first = pull(store, tmp_path, whisper(), yolo(upstream))
    upstream.forget()
    again = pull(store, tmp_path, whisper(), yolo(upstream))
    assert [result.status for result in again] == [PullStatus.CACHED, PullStatus.CACHED]
    assert [result.version for result in again] == [result.version for result in first]
    assert upstream.downloads() == []


def test_a_name_of_ones_own_for_a_repo_is_kept_with_its_type(store: Store, upstream: FakeHub, tmp_path: Path) -> None:
    (result,) = pull(store, tmp_path, whisper(name="my-ears", type="audio/vad"))
    assert (result.name, result.repo) == ("my-ears", "openai/whisper-tiny")
    (info,) = store.info("my-ears")
    assert (info.type, info.name) == ("audio/vad", "my-ears")
    assert [entry.path for entry in store.ls("my-ears")] == ["config.json", "model.safetensors"]  # type: ignore[union-attr]
    redownloaded = store.redownload("my-ears", PullOptions(low_priority=False))[0]
    assert redownloaded.error is None
    assert store.info("my-ears")[0].type == "audio/vad"
    pull(store, tmp_path, whisper(name="my-ears", type="audio/tts"))
    assert store.info("my-ears")[0].type == "audio/tts"


def test_a_listed_name_means_what_the_list_says_though_the_registry_has_it(
    store: Store, upstream: FakeHub, tmp_path: Path
) -> None:
    """As yolov8n in the program before: a URL there, and a repo in the registry."""
    entry = yolo(upstream, name="ada-002", type="text-embedding")
    pull(store, tmp_path, entry)
    assert [version.name for version in store.versions("ada-002")] == ["ada-002"]
    upstream.files["/yolov8n.pt"] = b"another"
    (again,) = store.pull(["ada-002"], PullOptions(low_priority=False, force=True))
    assert (again.name, again.error) == ("ada-002", None)
    assert b"".join(store.cat("ada-002", "yolov8n.pt")) == b"another"
    assert store.info("ada-002")[0].type == "text-embedding"


def test_exactly_the_files_are_taken(store: Store, upstream: FakeHub, tmp_path: Path) -> None:
    pull(store, tmp_path, whisper(name="odd", files=["weights[1].pt"], checksum=checksum(b"odd")))
    assert [entry.path for entry in store.ls("odd")] == ["weights[1].pt"]  # type: ignore[union-attr]


def test_a_file_that_upstream_lacks_fails_before_anything_is_fetched(
    store: Store, upstream: FakeHub, tmp_path: Path
) -> None:
    (result,) = pull(store, tmp_path, whisper(files=["model.safetensors", "vocab.json"]))
    assert result.error is not None
    assert (result.error.kind, result.error.message) == (
        "missing-upstream",
        "openai/whisper-tiny has no file 'vocab.json'",
    )
    assert upstream.downloads() == []
    assert store.versions() == []


def test_a_wrong_checksum_of_weights_fetches_nothing(store: Store, upstream: FakeHub, tmp_path: Path) -> None:
    (result,) = pull(store, tmp_path, whisper(checksum=checksum(b"")))
    assert result.error is not None
    assert result.error.kind == "wrong-bytes"
    assert "model.safetensors of openai/whisper-tiny has the digest" in result.error.message
    assert upstream.downloads() == []
    assert store.versions() == []


def test_a_wrong_checksum_of_a_small_file_makes_no_version(store: Store, upstream: FakeHub, tmp_path: Path) -> None:
    """The Hub knows the SHA-1 of such files only."""
    (result,) = pull(store, tmp_path, whisper(files=["config.json"], checksum=checksum(b"")))
    assert result.error is not None
    assert result.error.kind == "wrong-bytes"
    assert store.versions() == []
    assert pull(store, tmp_path, whisper(files=["config.json"], checksum=checksum(b"{}")))[0].error is None


def test_what_is_here_is_checked_too(store: Store, upstream: FakeHub, tmp_path: Path) -> None:
    pull(store, tmp_path, whisper())
    for offline in (False, True):
        (result,) = pull(store, tmp_path, whisper(checksum=checksum(b"")), offline=offline)
        assert result.error is not None
        assert result.error.kind == "wrong-bytes"


def test_a_wrong_checksum_of_a_url(store: Store, upstream: FakeHub, tmp_path: Path) -> None:
    results = pull(store, tmp_path, yolo(upstream, checksum=checksum(b"")), whisper())
    assert [result.error.kind if result.error else None for result in results] == ["wrong-bytes", None]
    assert pull(store, tmp_path, yolo(upstream, checksum=checksum(b"detector")))[0].vouched_by == "user"


def test_a_checksum_of_several_weights_is_refused_by_entry(store: Store, upstream: FakeHub, tmp_path: Path) -> None:
    entry = whisper(files=["model.safetensors", "pytorch_model.bin"])
    with pytest.raises(ConfigurationError, match=r"line 3, models\[0\] \(whisper-tiny\): a checksum is of one file"):
        pull(store, tmp_path, entry, yolo(upstream))
    assert upstream.seen == []
    assert not store.directory.exists()


def test_a_name_that_is_taken_is_refused(store: Store, upstream: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "weights.pt").write_bytes(b"mine")
    store.checkpoint("mine", tmp_path / "mine")
    results = pull(store, tmp_path, whisper(name="mine"), yolo(upstream, name="mine-too"))
    assert [result.error.kind if result.error else None for result in results] == ["name-taken", None]
    assert results[0].error is not None
    assert results[0].error.remedy == "rename the entry"
    assert b"".join(store.cat("mine", "weights.pt")) == b"mine"


def test_a_name_that_is_the_users_own_is_not_passed_by_for_the_registrys(
    store: Store, upstream: FakeHub, tmp_path: Path
) -> None:
    """Else `checkout whisper-tiny` would give something else than what the list has just brought in."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "weights.pt").write_bytes(b"mine")
    store.checkpoint("whisper-tiny", tmp_path / "mine")
    (refused,) = pull(store, tmp_path, whisper())
    assert refused.error is not None
    assert refused.error.kind == "name-taken"
    store.remove("whisper-tiny")
    store.pull(["openai/whisper-tiny"], PullOptions(low_priority=False, name="whisper-tiny", include=("*.md",)))
    (result,) = pull(store, tmp_path, whisper())
    assert (result.name, result.error) == ("whisper-tiny", None)
    assert b"".join(store.cat("whisper-tiny", "model.safetensors")) == WEIGHTS


def test_a_dry_run_of_a_list_fetches_nothing(store: Store, upstream: FakeHub, tmp_path: Path) -> None:
    results = pull(store, tmp_path, whisper(), yolo(upstream), dry_run=True)
    assert [result.error for result in results] == [None, None]
    assert results[0].downloaded_bytes == len(WEIGHTS) + 2
    assert upstream.downloads() == []
    assert not store.directory.exists()


def test_an_empty_list_and_none(store: Store, tmp_path: Path) -> None:
    assert pull(store, tmp_path) == []
    assert not store.directory.exists()
    with pytest.raises(NotFoundError, match="does not exist"):
        store.pull_list(tmp_path / "none.json")
