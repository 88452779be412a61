"""The examples of docs/sound.md run as they stand there."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from casmodels.library import Store
from tests.examples import examples_of
from tests.models.loaders.whisper import tiny_whisper
from tests.models.reading.weights import save

pytest.importorskip("torch")
pytest.importorskip("faster_whisper")
pytest.importorskip("silero_vad")
pytest.importorskip("prophet")
pytestmark = [
    pytest.mark.torch,
    # What Prophet calls is to change in pandas 4.
    pytest.mark.filterwarnings("ignore:The .* keyword in .* is deprecated"),
    pytest.mark.filterwarnings("ignore:A future version of pandas will return a BaseOffset"),
]


def test_the_examples(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speaking, text, forecast = examples_of("docs/sound.md")
    monkeypatch.setenv("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("CASMODELS_HOME", str(store.directory))
    monkeypatch.chdir(tmp_path)
    weights = (files("silero_vad.data") / "silero_vad.onnx").read_bytes()
    save(store, "onnx-community/silero-vad", tmp_path / "vad", {"onnx/model.onnx": weights})
    (tmp_path / "whisper").mkdir()
    store.checkpoint("whisper", tiny_whisper(tmp_path / "whisper"))
    names: dict[str, Any] = {}
    exec(speaking, names)
    assert capsys.readouterr().out == "[[]]\ntorch.Size([1, 1])\n"
    exec(text, names)
    assert capsys.readouterr().out == "3.0 <class 'str'>\n" * 2
    exec(forecast, names)
    assert capsys.readouterr().out == "(14,) (2,)\n"
