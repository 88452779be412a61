"""The examples of docs/lists.md, as they stand there."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from casmodels.cli.program import run
from casmodels.configs.folders import FOLDERS
from casmodels.configs.model_configs import read_model_configs
from tests.examples import examples_of
from tests.hub import FakeHub

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "lists.md").read_text("utf-8")
LIST, CONFIGS = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
WEIGHTS = bytes(range(256)) * 40
FILES = {"model.safetensors": WEIGHTS, "config.json": b"{}", "vocab.json": b"{}"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.chdir(tmp_path)
    Path("config.toml").touch()
    with FakeHub() as hub:
        monkeypatch.setenv("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
        monkeypatch.setenv("CASMODELS_HOME", str(tmp_path / "store"))
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add("openai/whisper-tiny", FILES)
        hub.files["/yolov8n.pt"] = b"detector"
        Path("download_list.json").write_text(LIST.replace("https://host", hub.url))
        yield hub


def commands(page: str) -> list[list[str]]:
    return [line.split()[1:] for line in page.splitlines() if line.startswith("    casmodels ")]


def test_the_examples_of_the_page_work(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands(PAGE):
        assert run(["-q", *command]) == 0, command
    assert Path("whisper-tiny/model.safetensors").read_bytes() == WEIGHTS
    assert Path("models/audio/whisper/whisper-tiny/model.safetensors").read_bytes() == WEIGHTS
    assert Path("models/vision/object_detection/yolov8n/yolov8n.pt").read_bytes() == b"detector"
    assert not Path("whisper-tiny/vocab.json").exists()
    capsys.readouterr()
    (example,) = examples_of("docs/lists.md")
    exec(example, {"expected_checksum": hashlib.sha256(b"{}").hexdigest()})
    assert capsys.readouterr().out == "True\n"
    assert run(["--json", "info", "yolov8n"]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == "vision/detection"


def test_the_licence_is_told_once_before_the_rest(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.add("openai/whisper-tiny", FILES, card={"license": "cc-by-nc-4.0"})
    assert run(["pull", "--list", "download_list.json"]) == 0
    told = capsys.readouterr().err
    assert told == (
        "warning: whisper-tiny: its licence, cc-by-nc-4.0, forbids commercial use: read it before you use the model\n"
    )
    assert run(["redownload", "whisper-tiny", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == told
    assert len(json.loads(captured.out)[0]["warnings"]) == 1
    assert run(["-q", "redownload", "whisper-tiny"]) == 0
    assert capsys.readouterr().err == ""


def test_the_table_of_folders_is_that_of_the_program() -> None:
    told = {}
    for types, folder in re.findall(r"^\| (`.*`) \| `([a-z_/]+)` \|$", PAGE, re.MULTILINE):
        told |= dict.fromkeys(re.findall(r"`([a-z/-]+)`", types), folder)
    assert told == {str(model_type): folder for model_type, folder in FOLDERS.items()}


def test_the_example_of_configurations_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model_configs.json"
    path.write_text(CONFIGS)
    configs = read_model_configs(path)
    assert configs["whisper-base"].options == {"beam_size": 5}
    assert configs["btc-lstm"].isolated
