"""The examples of docs/metrics.md run as they stand there, and what its tables name exists."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from casmodels.library import Store
from casmodels.performance.metrics import ModelMetrics
from tests.examples import ROOT, examples_of
from tests.models.loaders.test_onnx import linear
from tests.models.reading.weights import save


def test_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.toml").touch()
    for variable in ("CASMODELS_LOGS", "USE_GPU", "BATCH_SIZE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("CASMODELS_HOME", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    with Store() as store:
        save(store, "mine", tmp_path / "mine", {"model.onnx": linear().SerializeToString()})
    counting, evaluating = examples_of("docs/metrics.md")
    names: dict[str, object] = {}
    exec(counting, names)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == "1 call, 32 items"
    assert re.fullmatch(r"0\.\d{4} s, \d+ items/s", second)
    assert re.fullmatch(r"\d+ MiB", third)
    (line,) = (json.loads(line) for line in (tmp_path / "logs/models/inference.log").read_text().splitlines())
    assert line["items"] == 32
    exec(evaluating, names)
    assert capsys.readouterr().out == "1.0 1.0\n"


def test_the_table_has_every_figure() -> None:
    table = (ROOT / "docs" / "metrics.md").read_text("utf-8").partition("| of `model.metrics`")[2].partition("\n\n")[0]
    named = {
        word for row in table.splitlines() for word in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")
    }
    assert named == {each.name for each in fields(ModelMetrics)} | {"items_per_second"}
