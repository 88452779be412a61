"""Keras on torch: HDF5 and ``.keras`` files predict what the original predicts."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from casmodels.errors import NotLoadableError, UnsafeModelError
from casmodels.library import Store
from casmodels.loaders import load_model

pytest.importorskip("torch")
os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.*HDF5 file:UserWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of Keras with torch
]

Saver = Callable[..., str]
DATA = np.random.default_rng(3).normal(size=(11, 4)).astype("float32")


def network(*layers: Any) -> Any:
    keras.utils.set_random_seed(4)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), *layers, keras.layers.Dense(2)])


def file_of(model: Any, path: Path) -> bytes:
    model.save(path)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_network(store: Store, saved: Saver, tmp_path: Path, suffix: str, zipped: bool) -> None:
    original = network()
    data = file_of(original, tmp_path / f"written{suffix}")
    saved({f"m{suffix}.gz": gzip.compress(data)} if zipped else {f"m{suffix}": data})
    expected = original.predict_on_batch(DATA)
    with load_model(store, "mine") as model:
        assert model.loader == "keras"
        assert np.allclose(model(DATA), expected, atol=1e-6)
        assert np.allclose(model.process_batch(DATA, batch_size=4), expected, atol=1e-6)
        assert np.allclose(model.process_batch(DATA.tolist(), batch_size=4), expected, atol=1e-6)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_python_code_in_a_layer_is_refused(store: Store, saved: Saver, tmp_path: Path, suffix: str) -> None:
    model = network(keras.layers.Lambda(lambda values: values * 2))
    saved({f"m{suffix}": file_of(model, tmp_path / f"written{suffix}")})
    with pytest.raises(UnsafeModelError, match="holds Python code") as raised:
        load_model(store, "mine")
    assert "sandbox" in (raised.value.remedy or "")


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_what_is_no_model_is_one_sentence(store: Store, saved: Saver, suffix: str) -> None:
    saved({f"m{suffix}": b"nothing"})
    with pytest.raises(NotLoadableError, match=rf"'keras' cannot load m\{suffix}") as raised:
        load_model(store, "mine")
    assert "\n" not in raised.value.message


def test_an_example_of_what_it_takes(store: Store, saved: Saver, tmp_path: Path) -> None:
    saved({"model.keras": file_of(network(), tmp_path / "written.keras")})
    with load_model(store, "mine") as model:
        assert model.example(3).shape == (3, 4)
        assert model.process_batch(model.example(3)).shape == (3, 2)
    left, right = keras.Input((4,), name="left"), keras.Input((2, 5), name="right", dtype="int32")
    joined = keras.layers.Concatenate()([left, keras.layers.Flatten()(keras.ops.cast(right, "float32"))])
    two = keras.Model([left, right], keras.layers.Dense(1)(joined))
    saved({"model.keras": file_of(two, tmp_path / "two.keras")})
    with load_model(store, "mine") as model:
        batch = model.example(3)
        assert {name: (each.shape, str(each.dtype)) for name, each in batch.items()} == {
            "left": ((3, 4), "float32"),
            "right": ((3, 2, 5), "int32"),
        }
        assert model.process_batch(batch).shape == (3, 1)
