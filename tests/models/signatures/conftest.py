"""A store, and the keys of two people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casmodels import config
from casmodels.library import Store
from tests.models.signatures.pems import Pair, write_pair


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "config.toml").touch()
    environ = {"CASMODELS_CONFIG": str(tmp_path / "config.toml"), "HF_HOME": str(tmp_path / "hf")}
    with Store(config=config.load(store=tmp_path / "store", environ=environ)) as opened:
        yield opened


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """What a repository of the Hub looks like."""
    directory = tmp_path / "model"
    (directory / "onnx").mkdir(parents=True)
    (directory / "weights.bin").write_bytes(b"weights" * 1000)
    (directory / "onnx" / "modèl 1.onnx").write_bytes(b"onnx")
    (directory / "empty.txt").touch()
    (directory / ".gitattributes").write_text("*.bin filter=lfs\n")
    return directory


@pytest.fixture
def key(tmp_path: Path) -> Pair:
    return write_pair(tmp_path / "mine")


@pytest.fixture
def other_key(tmp_path: Path) -> Pair:
    return write_pair(tmp_path / "other")
