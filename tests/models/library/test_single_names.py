"""Where several texts are asked for, one is one, and not its letters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from casmodels.library import PullOptions, Store
from tests.models.reading.weights import safetensors_of


@pytest.fixture
def model(store: Store, tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    weights = safetensors_of({"w": np.ones(3, "f4"), "wide": np.zeros(3, "f4")})
    (folder / "model.safetensors").write_bytes(weights)
    store.checkpoint("mine", folder)
    return folder


def test_a_tag(store: Store, model: Path) -> None:
    store.checkpoint("mine", model, tags="best")
    assert store.versions("mine")[0].tags == ("best",)


def test_a_pattern(store: Store, model: Path, tmp_path: Path) -> None:
    store.checkout("mine", tmp_path / "out", include="*.json")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]


def test_a_model(store: Store, model: Path, tmp_path: Path) -> None:
    (result,) = store.pull(str(model), PullOptions(name="again", low_priority=False))
    assert result.error is None
    view = tmp_path / "view"
    store.view("mine", view)
    assert list(store.show_view(view).models) == ["mine"]
    store.remove_view("mine", view)
    assert not store.show_view(view).models


def test_a_tensor(store: Store, model: Path) -> None:
    assert list(store.load_tensors("mine", names="wide")) == ["wide"]
