"""The same arrays in every format, written by the libraries that people write them with."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np

from casstore.chunkers.spans import Span
from tests.formats.building import spans_of, state_dict

Arrays: TypeAlias = Mapping[str, np.ndarray[Any, Any]]

_SAFETENSORS_TYPES = {"<f4": "F32", "<f2": "F16", "<f8": "F64", "<i8": "I64", "<i4": "I32", "|u1": "U8"}
_TORCH_STORAGES = {"<f4": "FloatStorage", "<f2": "HalfStorage", "<f8": "DoubleStorage", "<i8": "LongStorage"}


def some_arrays(dtype: str = "<f4", seed: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    """Two large arrays and a small one."""
    generator = np.random.default_rng(seed)
    shapes = {"layer.0.weight": (300, 512), "layer.1.weight": (64, 32, 96), "layer.0.bias": (512,)}
    return {name: generator.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def as_safetensors(arrays: Arrays) -> bytes:
    header: dict[str, object] = {}
    position = 0
    for name, array in arrays.items():
        kind = _SAFETENSORS_TYPES[array.dtype.str]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [position, position + array.nbytes]}
        position += array.nbytes
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + b"".join(array.tobytes() for array in arrays.values())


def as_torch(arrays: Arrays) -> bytes:
    file = state_dict(**{name.replace(".", "__"): array.shape for name, array in arrays.items()})
    for storage, array in zip(file.storages, arrays.values(), strict=True):
        storage.kind, storage.width = _TORCH_STORAGES[array.dtype.str], array.itemsize
        file.extra_members[f"data/{storage.key}"] = array.tobytes()
    return file.build()


def as_npz(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def as_gguf(arrays: Arrays) -> bytes:
    import gguf

    with TemporaryDirectory() as directory:
        path = Path(directory) / "model.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_array("tokenizer.ggml.tokens", [f"token {number}" for number in range(500)])
        writer.add_array("tokenizer.ggml.scores", [0.5] * 500)
        writer.add_bool("general.flag", True)
        for name, array in arrays.items():
            writer.add_tensor(name, array)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def onnx_model(arrays: Arrays) -> Any:
    """A model of those initialisers, and a node."""
    from onnx import helper, numpy_helper

    initialisers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    value = helper.make_tensor_value_info("x", 1, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "graph", [value], [helper.make_tensor_value_info("y", 1, [1])], initialisers)
    return helper.make_model(graph, producer_name="tests")


def as_onnx(arrays: Arrays) -> bytes:
    model: bytes = onnx_model(arrays).SerializeToString()
    return model


def as_hdf5(arrays: Arrays, libver: str = "earliest", track_order: bool = False) -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=libver, track_order=track_order) as file:
        for name, array in arrays.items():
            group, _, last = name.rpartition(".")
            parent = file.require_group(group.replace(".", "/")) if group else file
            parent.create_dataset(last, data=array)
    return buffer.getvalue()


FORMATS: dict[str, Callable[[Arrays], bytes]] = {
    "model.safetensors": as_safetensors,
    "pytorch_model.bin": as_torch,
    "weights.npz": as_npz,
    "model.gguf": as_gguf,
    "model.onnx": as_onnx,
    "model.weights.h5": as_hdf5,
}


def described(data: bytes) -> list[tuple[bytes, int, int, int, bytes]]:
    """Of each span: its bytes, its length, its width, its block and its key; in an order of their own."""
    return sorted(
        (data[span.offset : span.offset + span.length], span.length, span.item_width, span.block_bytes, span.key)
        for span in spans_of(data)
    )


def bytes_of(data: bytes, span: Span) -> bytes:
    return data[span.offset : span.offset + span.length]
