"""The same tensor in any two formats: the same spans and keys, stored once, and every file restored byte for byte."""

from __future__ import annotations

import io
import os
import time
import zipfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casmodels import Store as Library
from casmodels.formats import Finder
from casmodels.formats.external import ExternalTensors
from casmodels.formats.onnx import OnnxLayout
from casstore.chunkers.spans import Span
from casstore.store import Store
from tests.formats.arrays import FORMATS, Arrays, as_hdf5, as_onnx, as_safetensors, described, onnx_model, some_arrays


@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_tensor_has_the_same_bytes_width_and_key_in_every_format(name: str, dtype: str) -> None:
    arrays = some_arrays(dtype)
    assert described(FORMATS[name](arrays)) == described(as_safetensors(arrays))


def _added(store: Store, name: str, data: bytes) -> int:
    """The bytes that a file adds to the store, which has to give it back as it is."""
    with store.writing() as transaction:
        stored = transaction.add_bytes(data, name)
        transaction.commit()
    with store.reading() as reader:
        assert b"".join(reader.open_blob(stored.info.sha256).stream()) == data
    return stored.added_bytes


def _size_bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


@pytest.mark.parametrize(("first", "second"), list(permutations(FORMATS, 2)))
def test_a_second_format_adds_next_to_nothing(tmp_path: Path, first: str, second: str) -> None:
    arrays = some_arrays()
    with Store.open(tmp_path / "store", create=True, finder=Finder()) as store:
        assert _added(store, first, FORMATS[first](arrays)) > _size_bytes(arrays) // 2
        # The small array is cut together with what lies around it, and a vocabulary is in the GGUF file only.
        assert _added(store, second, FORMATS[second](arrays)) < 12_000


def test_weights_in_a_keras_archive_are_those_of_the_file_alone(tmp_path: Path) -> None:
    arrays = some_arrays()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", as_hdf5(arrays))
    assert described(buffer.getvalue()) == described(as_safetensors(arrays))


def _external(directory: Path, arrays: Arrays) -> tuple[Path, Path]:
    import onnx

    path = directory / "model.onnx"
    onnx.save_model(
        onnx_model(arrays), str(path), save_as_external_data=True, location="model.onnx_data", size_threshold=0
    )
    return path, directory / "model.onnx_data"


def _large_arrays() -> Arrays:
    return {**some_arrays(), "large": np.random.default_rng(3).standard_normal((512, 512)).astype("<f4")}


def test_external_data_of_onnx_is_cut_as_the_model_beside_it_says(tmp_path: Path) -> None:
    arrays = _large_arrays()
    _, data = _external(tmp_path, arrays)
    with Store.open(tmp_path / "store", create=True, finder=Finder()) as store:
        _added(store, "model.safetensors", as_safetensors(arrays))
        with store.writing() as transaction:
            stored = transaction.add_file(data)
            transaction.commit()
        assert stored.added_bytes < 12_000
        with store.reading() as reader:
            assert b"".join(reader.open_blob(stored.info.sha256).stream()) == data.read_bytes()


def test_external_data_of_onnx_is_cut_as_a_model_said_before(tmp_path: Path) -> None:
    arrays = _large_arrays()
    model, data = _external(tmp_path, arrays)
    with Store.open(tmp_path / "store", create=True, finder=Finder()) as store:
        _added(store, "model.safetensors", as_safetensors(arrays))
        _added(store, "onnx/model.onnx", model.read_bytes())
        assert _added(store, "onnx/model.onnx_data", data.read_bytes()) < 12_000


def test_a_checkpoint_of_which_only_the_external_data_changed_stores_what_changed(tmp_path: Path) -> None:
    arrays = _large_arrays()
    directory = tmp_path / "model"
    directory.mkdir()
    model, data = _external(directory, arrays)
    long_ago = time.time() - 60  # so that the model is known as unchanged, and not read
    os.utime(model, (long_ago, long_ago))
    with Library(tmp_path / "store") as store:
        store.checkpoint("m", directory)
    data.write_bytes(data.read_bytes()[:-4] + b"new!")
    with Library(tmp_path / "store") as store:
        result = store.checkpoint("m", directory)
        assert result.read_files == 1
        assert result.stored_bytes < arrays["large"].nbytes + 12_000
        store.checkout("m", tmp_path / "out")
    assert (tmp_path / "out" / data.name).read_bytes() == data.read_bytes()


def test_a_file_that_was_stored_as_opaque_can_be_stored_again_with_spans(tmp_path: Path) -> None:
    _, data = _external(tmp_path, _large_arrays())
    with Store.open(tmp_path / "store", create=True, finder=Finder()) as store:
        _added(store, "model.onnx_data", data.read_bytes())
        with store.writing() as transaction:
            stored = transaction.add_file(data)
            transaction.commit()
        with store.reading() as reader:
            assert b"".join(reader.open_blob(stored.info.sha256).stream()) == data.read_bytes()


def test_external_data_of_which_no_model_tells_is_opaque(tmp_path: Path) -> None:
    arrays = _large_arrays()
    model, data = _external(tmp_path, arrays)
    finder = Finder()
    with Store.open(tmp_path / "store", create=True, finder=finder) as store:
        _added(store, "model.safetensors", as_safetensors(arrays))
        _added(store, "onnx/model.onnx", model.read_bytes())
        assert _added(store, "model.onnx_data", data.read_bytes()) > _size_bytes(arrays) // 2
        # What another model of that name said does not fit a file of another length.
        longer = data.read_bytes() + bytes(2 << 20)
        assert _added(store, "onnx/model.onnx_data", longer) > 0
        assert finder("onnx/model.onnx_data", _Source(longer)) == []
        assert finder("onnx/model.onnx_data", _Source(data.read_bytes()[:-4])) == []
        assert len(finder("onnx/model.onnx_data", _Source(data.read_bytes()))) == len(arrays)


class _Source:
    def __init__(self, data: bytes) -> None:
        self.size_bytes = len(data)
        self._data = data

    def read_at(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


def test_what_models_told_is_forgotten_when_it_gets_too_much() -> None:
    told = ExternalTensors()
    size_bytes = 2 << 20
    for number in range(5):
        spans = [Span(8 * place, 8, 8, 8) for place in range(60_000)]
        spans.append(Span(size_bytes - 8, 8, 8, 8))
        told.remember(f"{number}.onnx", OnnxLayout([], {f"{number}.data": spans}))
    kept = [bool(told.spans(f"{number}.data", _Source(bytes(size_bytes)))) for number in range(5)]
    assert kept == [False, False, True, True, True]


@given(st.lists(st.builds(Span, *(st.integers(-9, 3 << 20) for _ in range(2)), st.just(4), st.just(4))))
def test_whatever_models_told_the_spans_are_sound(spans: list[Span]) -> None:
    told = ExternalTensors()
    told.remember("m.onnx", OnnxLayout([], {"m.data": spans}))
    end = 0
    for span in told.spans("m.data", _Source(bytes(2 << 20))):
        assert span.offset >= end
        end = span.offset + span.length
    assert end <= 2 << 20


def test_a_wrong_model_beside_external_data_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(as_onnx(some_arrays())[:-1])
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "directory.onnx").mkdir()
    (tmp_path / "gone.onnx").symlink_to(tmp_path / "nothing")
    data = tmp_path / "model.onnx_data"
    data.write_bytes(bytes(2 << 20))
    with (
        Store.open(tmp_path / "store", create=True, finder=Finder()) as store,
        store.writing() as transaction,
    ):
        assert transaction.add_file(data).info.size_bytes == 2 << 20
