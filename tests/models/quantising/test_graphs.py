"""ONNX models: quantised by onnxruntime, saved, and loaded again."""

from __future__ import annotations

import gzip
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from casmodels import quantize_model
from casmodels.errors import MissingExtraError, NameTakenError, NoRoomError, NotQuantisableError, UnloadedError
from casmodels.library import Store
from casmodels.loaders import load_model, room
from casmodels.quantising import graphs
from casstore import files
from casstore.errors import FullError, InvalidInputError
from tests.models.loaders.test_onnx import DATA, expected, linear

Saver = Callable[..., str]
MODEL = linear().SerializeToString()


@pytest.mark.parametrize(("dtype", "most", "least"), [("int8", 0.5, 0.999), ("fp16", 0.6, 0.99999)])
def test_what_is_saved_is_what_was_quantised(store: Store, saved: Saver, dtype: str, most: float, least: float) -> None:
    parent = saved({"model.onnx": MODEL, "vocab.txt": b"words", "model.onnx.data": b""})
    with load_model(store, "mine") as model, quantize_model(model, dtype) as small:
        assert (small.loader, small.device, small.dtype, small.version) == ("onnx", "cpu", dtype, model.version)
        assert np.allclose(model(DATA), expected(DATA), atol=1e-6)  # as it was before
        found = small.process_batch(DATA, batch_size=4)
        result = small.save("small", sample=DATA, message="for phones")
    quantised = result.quantised
    assert quantised.parent == result.parent == f"mine@{parent}"
    assert quantised.parent_weights_bytes == len(MODEL)
    assert quantised.weights_bytes < len(MODEL) * most
    assert quantised.sample_items == len(DATA)
    assert quantised.mean_similarity is not None
    assert quantised.smallest_similarity is not None
    assert quantised.latency_ratio is not None
    assert least < quantised.smallest_similarity <= quantised.mean_similarity <= 1.000001
    assert quantised.latency_ratio > 0
    assert [entry.path for entry in store.ls("small")] == ["model.onnx", "vocab.txt"]  # type: ignore[union-attr]
    with load_model(store, "small") as again:
        assert np.array_equal(again.process_batch(DATA, batch_size=4), found)


def test_the_metadata_says_how_it_was_made(store: Store, saved: Saver) -> None:
    saved({"model.onnx": MODEL})
    with load_model(store, "mine") as model, quantize_model(model) as small:
        result = small.save("small", sample=DATA.tolist(), message="for phones")
    (version,) = store.versions("small")
    (info,) = store.info("small")
    assert version.version == result.version
    assert version.message == "for phones"
    assert version.source == f"casmodels://{result.parent}"
    assert version.quantised == info.quantised
    assert info.base_models == ("mine",)
    assert version.quantised is not None
    assert version.quantised.method == "onnxruntime.quantize_dynamic, per channel"
    assert version.quantised.mean_similarity == pytest.approx(result.quantised.mean_similarity, abs=1e-6)
    assert store.versions("mine")[0].quantised is None


def test_the_same_model_gives_the_same_bytes(store: Store, saved: Saver) -> None:
    saved({"model.onnx": MODEL})
    for _ in range(2):
        with load_model(store, "mine") as model, quantize_model(model) as small:
            result = small.save("small")
    assert result.unchanged
    assert result.quantised.mean_similarity is None
    assert len({entry.digest for version in store.versions("small") for entry in _files(store, version.version)}) == 1


def _files(store: Store, version: str) -> list[object]:
    return list(store.contents(f"small@{version}").files)


def test_tensors_in_other_files_and_gzip(store: Store, saved: Saver, tmp_path: Path) -> None:
    onnx.save_model(
        linear(), tmp_path / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0
    )
    saved({f"deep/{name}": (tmp_path / name).read_bytes() for name in ("model.onnx", "model.onnx_data")}, "external")
    saved({"model.onnx.gz": gzip.compress(MODEL)}, "packed")
    found = []
    for name, path in (("external", "deep/model.onnx"), ("packed", "model.onnx")):
        with load_model(store, name) as model, quantize_model(model) as small:
            small.save("small")
        assert [entry.path for entry in store.contents("small").files] == [path]
        with load_model(store, "small") as again:
            found.append(again(DATA))
    assert np.array_equal(*found)


def test_nothing_is_left_and_nothing_is_said(
    store: Store, saved: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    saved({"model.onnx": MODEL})
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    handlers = list(logging.getLogger().handlers)
    with load_model(store, "mine") as model, quantize_model(model):
        assert list(place.iterdir()) == []
    assert not caplog.records
    assert logging.getLogger().handlers == handlers


@pytest.mark.parametrize("dtype", ["fp8", "bf16"])
def test_types_that_onnxruntime_does_not_have(store: Store, saved: Saver, dtype: str) -> None:
    saved({"model.onnx": MODEL})
    with load_model(store, "mine") as model, pytest.raises(NotQuantisableError, match=f"model to {dtype}") as raised:
        quantize_model(model, dtype)
    assert raised.value.remedy == "use int8 or fp16, or a torch module"


def test_types_that_there_are_not(store: Store, saved: Saver) -> None:
    saved({"model.onnx": MODEL})
    with load_model(store, "mine") as model:
        with pytest.raises(InvalidInputError, match="no type 'int3' that a model can be quantised to") as raised:
            quantize_model(model, "int3")
        assert raised.value.remedy == "use int8, fp8, fp16, bf16"
        with pytest.raises(NotQuantisableError, match="cannot be quantised to int4 here"):
            quantize_model(model, "int4")
        with pytest.raises(NotQuantisableError, match="activations=True is for torch modules"):
            quantize_model(model, activations=True)


def test_what_is_quantised_already(store: Store, saved: Saver) -> None:
    saved({"model.onnx": MODEL})
    with load_model(store, "mine") as model, quantize_model(model) as small:
        with pytest.raises(NotQuantisableError, match="is quantised already"):
            quantize_model(small)
        small.save("small")
    with (
        load_model(store, "small") as again,
        pytest.raises(NotQuantisableError, match=r"model\.onnx in small.*ready"),
    ):
        quantize_model(again)


@pytest.mark.parametrize("model", [{"w": 1}, "mine", None])
def test_what_is_no_model(model: object) -> None:
    with pytest.raises(NotQuantisableError, match=f"a {type(model).__name__} cannot be quantised"):
        quantize_model(model)


def test_a_model_of_nothing_that_could_be_smaller(store: Store, saved: Saver) -> None:
    graph = linear()
    graph.graph.node[0].op_type = "Add"
    graph.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.zeros((1, 1), "float32"), "w"))
    saved({"model.onnx": graph.SerializeToString()})
    with load_model(store, "mine") as model, pytest.raises(NotQuantisableError, match="no weights that would be small"):
        quantize_model(model)


@pytest.mark.parametrize("place", ["initialiser", "constant", "graph in the graph"])
def test_numbers_that_are_too_large_for_fp16(store: Store, saved: Saver, place: str) -> None:
    graph = linear()
    (large,) = [tensor for tensor in graph.graph.initializer if tensor.name == "w"]
    numbers = onnx.numpy_helper.to_array(large).copy()
    numbers[0, 0] = -1e6
    large.CopyFrom(onnx.numpy_helper.from_array(numbers, "w"))
    if place != "initialiser":
        graph.graph.initializer.remove(large)
        constant = onnx.helper.make_node("Constant", [], ["w"], value=large)
        if place == "constant":
            graph.graph.node.insert(0, constant)
        else:
            output = onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, numbers.shape)
            body = onnx.helper.make_graph([constant], "body", [], [output])
            always = onnx.helper.make_node("If", ["yes"], ["w"], then_branch=body, else_branch=body)
            graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
            graph.graph.node.insert(0, always)
    saved({"model.onnx": graph.SerializeToString()})
    with (
        load_model(store, "mine") as model,
        pytest.raises(
            NotQuantisableError, match=r"^w of model\.onnx in mine@\w+ has numbers that are too large for fp16"
        ),
    ):
        quantize_model(model, "fp16")


def test_what_stands_for_infinity_is_not_too_large(store: Store, saved: Saver) -> None:
    graph = linear()
    for number, name in ((-np.inf, "a"), (np.finfo("float32").min, "b")):
        graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([number], "float32"), name))
    saved({"model.onnx": graph.SerializeToString()})
    with load_model(store, "mine") as model, quantize_model(model, "fp16") as small:
        assert np.allclose(small(DATA), expected(DATA), atol=0.01)


def test_a_sample_that_the_model_cannot_take(store: Store, saved: Saver) -> None:
    saved({"model.onnx": MODEL})
    with load_model(store, "mine") as model, quantize_model(model) as small:
        for sample, words in ([], "the sample is empty"), (["text"], "mine@.* cannot take the sample"):
            with pytest.raises(InvalidInputError, match=words):
                small.save("small", sample=sample)
    assert [model.name for model in store.list()] == ["mine"]


def test_what_is_closed(store: Store, saved: Saver) -> None:
    saved({"model.onnx": MODEL})
    model = load_model(store, "mine")
    small = quantize_model(model)
    model.close()
    assert np.allclose(small(DATA), expected(DATA), atol=0.1)
    with pytest.raises(UnloadedError):
        small.compare(DATA)
    with pytest.raises(UnloadedError):
        quantize_model(model)
    small.close()
    with pytest.raises(UnloadedError):
        small.save("small")


def test_an_isolated_model(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASMODELS_CONFIG", str(store.directory.parent / "config.toml"))
    saved({"model.onnx": MODEL})
    with (
        load_model(store, "mine", isolated=True) as model,
        pytest.raises(NotQuantisableError, match="is in a process of its own") as raised,
    ):
        quantize_model(model)
    assert raised.value.remedy is not None
    assert "save it, and load that with isolated=True" in raised.value.remedy
    with load_model(store, "mine") as model, quantize_model(model) as small:
        small.save("small")
        found = small(DATA)
    with load_model(store, "small", isolated=True) as again:
        assert np.array_equal(again(DATA), found)


def test_a_name_that_is_taken(store: Store, saved: Saver) -> None:
    saved({"model.onnx": MODEL})
    with load_model(store, "mine") as model, quantize_model(model) as small:
        with pytest.raises(NameTakenError, match="'ada-002' is taken"):
            small.save("ada-002", sample=["never", "looked at"])
        with pytest.raises(InvalidInputError):
            small.save("../out")


def test_a_model_that_does_not_fit(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    saved({"model.onnx": MODEL})
    with load_model(store, "mine") as model:
        monkeypatch.setattr(room, "free_bytes", lambda _: 1000)
        with pytest.raises(NoRoomError, match=r"mine@.* does not fit: to quantise it takes") as raised:
            quantize_model(model)
        assert raised.value.remedy is not None
        assert raised.value.remedy.endswith("or quantise it all the same with force=True")
        quantize_model(model, force=True).close()


def test_a_missing_extra(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    saved({"model.onnx": MODEL})

    def missing(name: str, extra: str) -> object:
        raise MissingExtraError(extra)

    with load_model(store, "mine") as model:
        monkeypatch.setattr(graphs, "library", missing)
        with pytest.raises(MissingExtraError, match="the extra 'quantise-onnx' is not installed"):
            quantize_model(model)


@pytest.mark.parametrize("copies", ["ours", "onnxruntime's"])
def test_a_full_temporary_directory(
    store: Store, saved: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: str
) -> None:
    saved({"model.onnx": MODEL})
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with load_model(store, "mine") as model:
        with monkeypatch.context() as patched:
            if copies == "ours":
                patched.setattr(graphs, "memory_directory", _full)
            else:
                patched.setattr(onnx, "save_model", _full)
            with pytest.raises(FullError, match=rf"no space left while writing {place}$"):
                quantize_model(model)
        quantize_model(model).close()
    assert list(place.iterdir()) == []


def _full(*_: object, **__: object) -> object:
    raise OSError(28, "No space left on device")


def test_a_directory_of_a_version_and_links(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "deep"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(MODEL)
    (folder / "latest").symlink_to("model.onnx")
    (tmp_path / "mine" / "other.onnx").write_bytes(b"another model")
    store.checkpoint("mine", tmp_path / "mine")
    with load_model(store, "mine", path="deep") as model, quantize_model(model) as small:
        small.save("small")
        found = small(DATA)
    before, after = ({each.path: each.digest for each in store.contents(name).files} for name in ("mine", "small"))
    assert before.keys() == after.keys() == {"deep/model.onnx", "deep/latest", "other.onnx"}
    assert {path for path in before if before[path] != after[path]} == {"deep/model.onnx", "deep/latest"}
    with load_model(store, "small", path="deep") as again:
        assert np.array_equal(again(DATA), found)


def test_a_full_store(store: Store, saved: Saver) -> None:
    saved({"model.onnx": MODEL})

    def full(operation: str, path: str) -> None:
        if operation == "write" and path.endswith(".tmp"):
            raise OSError(28, "No space left on device")

    with load_model(store, "mine") as model, quantize_model(model) as small:
        before = files.set_hook(full)
        try:
            with pytest.raises(FullError, match="no space left"):
                small.save("small")
        finally:
            files.set_hook(before)
        assert [found.name for found in store.list()] == ["mine"]
        small.save("small")  # it is still there to be saved
    assert store.verify(data=True).ok


def test_the_options_of_a_session_stay(store: Store, saved: Saver) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    saved({"model.onnx": MODEL})
    with load_model(store, "mine", session_options=options) as model, quantize_model(model) as small:
        assert small.model.get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize("other", ["whole", "broken"])
def test_tensors_that_another_graph_keeps_in_the_same_file(
    store: Store, saved: Saver, tmp_path: Path, other: str
) -> None:
    onnx.save_model(
        linear(), tmp_path / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0
    )
    graph, data = ((tmp_path / name).read_bytes() for name in ("model.onnx", "model.onnx_data"))
    files = {"model.onnx": graph, "model.onnx_data": data, "twin.onnx": graph if other == "whole" else b"broken"}
    saved(files)
    with load_model(store, "mine", path="model.onnx") as model, quantize_model(model) as small:
        small.save("small")
    assert {entry.path for entry in store.contents("small").files} == set(files)
    if other == "whole":
        with load_model(store, "small", path="twin.onnx") as twin:
            assert np.allclose(twin(DATA), expected(DATA), atol=1e-6)
