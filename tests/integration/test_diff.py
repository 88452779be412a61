"""`diff` from the command line to the packs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from casmodels.cli.program import run
from tests.models.reading.weights import normal, safetensors_of

Put = Callable[[dict[str, bytes]], None]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    (tmp_path / "config.toml").touch()
    monkeypatch.setenv("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("CASMODELS_HOME", str(tmp_path / "store"))
    directory = tmp_path / "mine"

    def put(files: dict[str, bytes]) -> None:
        directory.mkdir(exist_ok=True)
        for path, data in files.items():
            (directory / path).write_bytes(data)
        assert run(["-q", "checkpoint", "mine", str(directory), "--rehash"]) == 0

    return put


def test_diff(put: Put, capsys: pytest.CaptureFixture[str]) -> None:
    weights = {"a.weight": normal(64, 64), "a.bias": normal(64, seed=2)}
    put({"model.safetensors": safetensors_of(weights), "config.json": b"{}"})
    weights["a.bias"] = weights["a.bias"] + np.float32(0.5)
    put({"model.safetensors": safetensors_of(weights)})
    capsys.readouterr()

    assert run(["diff", "mine@~1", "mine"]) == 0
    told = capsys.readouterr().out
    assert "a.bias" in told
    assert "a.weight" not in told
    assert "unchanged: 1 file, 1 tensor\n" in told

    assert run(["--json", "diff", "mine@~1", "mine"]) == 0
    document = json.loads(capsys.readouterr().out)
    (tensor,) = document["tensors"]
    assert (tensor["name"], tensor["status"], tensor["change"]["share"]) == ("a.bias", "changed", 1.0)
    assert tensor["change"]["mean_absolute"] == pytest.approx(0.5)
    assert [file["path"] for file in document["files"]] == ["model.safetensors"]

    assert run(["diff", "mine", "mine"]) == 0
    assert "hold the same files" in capsys.readouterr().out
