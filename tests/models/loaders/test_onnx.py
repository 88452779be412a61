"""ONNX: what onnxruntime computes from the store is what it computes from files."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from casmodels.errors import DeviceError, NotLoadableError
from casmodels.library import Store
from casmodels.loaders import load_model
from casstore.errors import DamagedError
from tests.models.reading.damage import flip_packs
from tests.models.reading.weights import normal

Saver = Callable[..., str]
DATA = normal(10, 64, seed=7)


def linear(outputs: int = 1) -> Any:
    """x @ w, and with two outputs also its negative."""
    weights = [numpy_helper.from_array(normal(64, 96), "w")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Neg", ["y"], ["z"])][:outputs]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 96]) for name in ("y", "z")[:outputs]]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, results, weights), opset_imports=[])
    model.ir_version = 9
    model.opset_import.append(helper.make_opsetid("", 17))
    return model


def expected(data: Any) -> Any:
    return data @ normal(64, 96)


@pytest.mark.parametrize("file", ["model.onnx", "onnx/model.onnx", "model.onnx.gz"])
def test_a_model_from_bytes(store: Store, saved: Saver, file: str) -> None:
    data = linear().SerializeToString()
    saved({file: gzip.compress(data) if file.endswith(".gz") else data, "README.md": b"# a model"})
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    with load_model(store, "mine") as model:
        assert isinstance(model.model, onnxruntime.InferenceSession)
        assert np.array_equal(model(DATA), session.run(None, {"x": DATA})[0])
        assert np.allclose(model(DATA), expected(DATA), atol=1e-6)
        assert np.array_equal(model({"x": DATA}), model(DATA))
        assert np.allclose(model.process_batch(DATA.tolist(), batch_size=4), expected(DATA), atol=1e-6)
        assert np.allclose(model.process_batch({"x": DATA.astype("float64")}, batch_size=3), expected(DATA), atol=1e-6)


def test_several_outputs_have_names(store: Store, saved: Saver) -> None:
    saved({"model.onnx": linear(2).SerializeToString()})
    with load_model(store, "mine") as model:
        found = model.process_batch(DATA, batch_size=4)
    assert np.allclose(found["y"], expected(DATA), atol=1e-6)
    assert np.array_equal(found["z"], -found["y"])


def test_external_data_come_from_the_store(store: Store, saved: Saver, tmp_path: Path) -> None:
    onnx.save_model(
        linear(), tmp_path / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0
    )
    files = {f"deep/{name}": (tmp_path / name).read_bytes() for name in ("model.onnx", "model.onnx_data")}
    saved(files)
    with load_model(store, "mine") as model:
        assert np.allclose(model(DATA), expected(DATA), atol=1e-6)
    del files["deep/model.onnx_data"]
    saved(files)
    with pytest.raises(NotLoadableError, match=r"has no deep/model\.onnx_data, in which deep/model\.onnx keeps"):
        load_model(store, "mine")


def test_small_tensors_in_other_files(store: Store, saved: Saver, tmp_path: Path) -> None:
    weights = [numpy_helper.from_array(np.array(value, "float32"), name) for name, value in (("a", [2.0]), ("b", 3.0))]
    nodes = [helper.make_node("Mul", ["x", "a"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"])] for name in "xy")
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, weights))
    model.ir_version = 9
    model.opset_import[0].version = 17
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="small.bin", size_threshold=0)
    saved({name: (tmp_path / name).read_bytes() for name in ("m.onnx", "small.bin")})
    with load_model(store, "mine", loader="onnx") as loaded:
        assert loaded([1.0, 2.0]).tolist() == [5.0, 7.0]


def test_data_that_are_called_as_weights_of_torch_are(store: Store, saved: Saver, tmp_path: Path) -> None:
    onnx.save_model(linear(), tmp_path / "m.onnx", save_as_external_data=True, location="ext.bin", size_threshold=0)
    saved({f"deep/{name}": (tmp_path / name).read_bytes() for name in ("m.onnx", "ext.bin")})
    with load_model(store, "mine") as model:
        assert model.loader == "onnx"
        assert np.allclose(model(DATA), expected(DATA), atol=1e-6)


def elsewhere(location: str) -> Any:
    """A tensor ``w`` of four numbers in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def reaching(kind: str, location: str) -> bytes:
    """x + w, where ``w`` stands somewhere else than among the graph's initialisers."""
    constant = helper.make_node("Constant", [], ["w"], value=elsewhere(location))
    add = helper.make_node("Add", ["x", "w"], ["y"])
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])] for name in "xy")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("theirs", 1)]
    given: dict[str, Any] = {"nodes": [constant, add]}
    functions = []
    if kind in ("branch", "constant of a branch"):
        result = [helper.make_tensor_value_info("o", TensorProto.FLOAT, [4])]
        inside = [helper.make_node("Constant", [], ["o"], value=elsewhere(location))]
        branch = helper.make_graph(inside, "b", [], result)
        if kind == "branch":
            same = [helper.make_node("Identity", ["w"], ["o"])]
            branch = helper.make_graph(same, "b", [], result, [elsewhere(location)])
        chosen = helper.make_node("If", ["c"], ["w"], then_branch=branch, else_branch=branch)
        given = {"nodes": [chosen, add], "initializer": [helper.make_tensor("c", TensorProto.BOOL, [], [True])]}
    elif kind == "function":
        functions = [helper.make_function("theirs", "F", ["x"], ["y"], [constant, add], opsets[:1])]
        given = {"nodes": [helper.make_node("F", ["x"], ["y"], domain="theirs")]}
    elif kind == "sparse":
        indices = helper.make_tensor("i", TensorProto.INT64, [4], [0, 1, 2, 3])
        sparse = onnx.SparseTensorProto(values=elsewhere(location), indices=indices, dims=[4])
        given = {"nodes": [add], "sparse_initializer": [sparse]}
    graph = helper.make_graph(name="g", inputs=inputs, outputs=outputs, **given)
    return bytes(helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=9).SerializeToString())


@pytest.mark.parametrize("location", ["ext.bin", "../here/ext.bin"])
@pytest.mark.parametrize("kind", ["constant", "branch", "constant of a branch", "function", "sparse"])
def test_no_tensor_is_read_from_the_current_directory(
    store: Store, saved: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, location: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "ext.bin").write_bytes(np.arange(4, dtype="float32").tobytes())
    monkeypatch.chdir(here)
    saved({"model.onnx": reaching(kind, location), "ext.bin": bytes(16)})
    with pytest.raises(NotLoadableError, match=r"model\.onnx in mine@\w{12} keeps the tensor 'w' of a subgraph, a fun"):
        load_model(store, "mine", loader="onnx")


def test_an_initialiser_with_numbers_of_its_own_too(
    store: Store, saved: Saver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ext.bin").write_bytes(bytes(16))
    tensor = elsewhere("ext.bin")
    tensor.raw_data = bytes(16)
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])] for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", inputs, outputs, [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    saved({"model.onnx": model.SerializeToString()})
    with pytest.raises(NotLoadableError, match=r"has no ext\.bin, in which model\.onnx keeps tensors"):
        load_model(store, "mine")


def test_a_damaged_file_is_never_loaded(store: Store, saved: Saver) -> None:
    version = saved({"model.onnx": linear().SerializeToString()})
    flip_packs(store)
    with pytest.raises(DamagedError, match=rf"model\.onnx in mine@{version[:12]}: chunk \w{{64}} is damaged"):
        load_model(store, "mine")


def test_inputs_that_are_not_the_models(store: Store, saved: Saver) -> None:
    saved({"model.onnx": linear().SerializeToString()})
    with load_model(store, "mine") as model, pytest.raises(NotLoadableError, match="no input 'y'") as raised:
        model({"y": DATA})
    assert raised.value.remedy == "give a dict of x"


@pytest.mark.parametrize("data", [b"", b"no model", b"\x08\x09:\x05"])
def test_what_is_no_model_is_one_sentence(store: Store, saved: Saver, data: bytes) -> None:
    saved({"model.onnx": data})
    with pytest.raises(NotLoadableError, match=r"model\.onnx") as raised:
        load_model(store, "mine")
    assert "\n" not in raised.value.message


def test_a_gpu_that_is_not_there(store: Store, saved: Saver) -> None:
    saved({"model.onnx": linear().SerializeToString()})
    with pytest.raises(DeviceError, match="no device 'cuda' here for the loader 'onnx'"):
        load_model(store, "mine", device="cuda")
    with load_model(store, "mine") as model:
        assert model.to("cpu").device == "cpu"
