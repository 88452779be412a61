"""What pulls report stands in ``download.log``, whoever pulls."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from casmodels import ModelDownloader, ModelManager
from casmodels.cancellation import Cancellation
from casmodels.errors import InterruptedPullError
from casmodels.library import PullOptions
from casmodels.progress import SilentProgress, Task
from tests.hub import FakeHub
from tests.models.library.conftest import MakeStore

FILES = {"config.json": b"{}", "model.safetensors": b"0" * 1000}
CARD = {"license": "agpl-3.0"}


def lines(logs: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (logs / "models" / "download.log").read_text().splitlines()]


def of_files(logs: Path) -> list[tuple[object, object]]:
    return [(line["path"], line["status"]) for line in lines(logs) if "path" in line and line["path"] in FILES]


def of_models(logs: Path) -> list[tuple[object, object]]:
    return [(line["model"], line["status"]) for line in lines(logs) if "downloaded_bytes" in line]


def test_every_file_and_how_it_ended(make_store: MakeStore, hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/name", FILES, card=CARD)
    logs = tmp_path / "logs"
    store = make_store(HF_ENDPOINT=hub.url, CASMODELS_LOGS=str(logs))
    store.pull(["org/name"], PullOptions(dry_run=True))
    assert not logs.exists()
    store.pull(["org/name", "org/missing"])
    assert sorted(of_files(logs)) == [("config.json", "completed"), ("model.safetensors", "completed")]
    assert of_models(logs) == [("org/name", "completed"), ("org/missing", "failed")]
    assert ["agpl-3.0" in line["warning"] for line in lines(logs) if "warning" in line] == [True]
    failed = lines(logs)[-1]
    assert failed["level"] == "error"
    assert "org/missing" in failed["error"]
    done = next(line for line in lines(logs) if line.get("downloaded_bytes"))
    assert (done["files"], done["size_bytes"]) == (2, 1002)


def test_what_ends_all_further_work(make_store: MakeStore, hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/name", FILES)
    cancellation = Cancellation()

    class Cancelling(SilentProgress):
        def start(self, label: str, total_bytes: int | None) -> Task:
            cancellation.ask()
            return super().start(label, total_bytes)

    store = make_store(HF_ENDPOINT=hub.url, CASMODELS_LOGS=str(tmp_path / "logs"))
    with pytest.raises(InterruptedPullError):
        store.pull(["org/name"], PullOptions(low_priority=False), Cancelling(), cancellation)
    assert of_models(tmp_path / "logs") == [("org/name", "failed")]
    assert "cancelled" in lines(tmp_path / "logs")[-1]["error"]


def test_no_secret_of_an_address_is_logged(make_store: MakeStore, hub: FakeHub, tmp_path: Path) -> None:
    store = make_store(CASMODELS_LOGS=str(tmp_path / "logs"))
    secret = hub.url.replace("http://", "http://me:hunter2@") + "/nothing.bin?key=hunter2"
    store.pull([secret], PullOptions(low_priority=False))
    ((model, status),) = of_models(tmp_path / "logs")
    assert (model, status) == (f"{hub.url}/nothing.bin", "failed")
    assert "hunter2" not in (tmp_path / "logs" / "models" / "download.log").read_text()


def test_a_folder_that_is_taken_in(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "old" / "sentence-transformers" / "all-MiniLM-L6-v2"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    store = make_store(CASMODELS_LOGS=str(tmp_path / "logs"))
    results = store.take_in(tmp_path / "old")
    assert [(line["path"], line["status"]) for line in lines(tmp_path / "logs")] == [
        (result.path, result.status.value) for result in results
    ]


@pytest.fixture
def _environment(tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("CASMODELS_LOGS", raising=False)
    hub.add("org/name", FILES, card=CARD)


@pytest.mark.usefixtures("_environment")
def test_the_paths_of_the_programs_before(tmp_path: Path) -> None:
    """``logs_dir="logs"`` gives logs/models/download.log below the current directory, as ever."""
    with ModelDownloader(cache_dir="cache", logs_dir="logs") as downloader:
        result = asyncio.run(downloader.download_model("org/name"))
    assert result.error is None
    assert of_models(tmp_path / "logs") == [("org/name", "completed")]
    with ModelManager(cache_dir="cache", logs_dir="logs") as manager:
        manager.download_model("org/name")
        assert manager.store.logs is not None
    assert of_models(tmp_path / "logs") == [("org/name", "completed"), ("org/name", "cached")]


@pytest.mark.usefixtures("_environment")
def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASMODELS_LOGS", "logs")
    command = [sys.executable, "-m", "casmodels", "--store", "store", "pull", "org/name"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "warning" in done.stderr
    assert "completed" not in done.stderr, "what goes to the file does not come out here, too"
    assert sorted(of_files(tmp_path / "logs")) == [("config.json", "completed"), ("model.safetensors", "completed")]
    assert of_models(tmp_path / "logs") == [("org/name", "completed")]
    (tmp_path / "blocked").write_text("a file")
    monkeypatch.setenv("CASMODELS_LOGS", "blocked")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [line for line in done.stderr.splitlines() if "blocked" in line] == [
        f"{tmp_path}/blocked/models/download.log cannot be written: Not a directory; what belongs there is lost"
    ]
