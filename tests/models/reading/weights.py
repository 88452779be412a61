"""Small models in code: safetensors files and torch archives with the numbers in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from casmodels.library import Store
from casstore.sources import BytesSource
from tests.formats.building import FakeStorage, FakeTensor, TorchFile

NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16",
    "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL", "complex64": "C64",
}  # fmt: skip
STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage", "uint8": "ByteStorage"}


def safetensors_of(arrays: Mapping[str, np.ndarray[Any, Any]], dtypes: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file; ``dtypes`` names the types that NumPy has no name for."""
    header, position = {}, 0
    for name, array in arrays.items():
        dtype = (dtypes or {}).get(name) or NAMES[array.dtype.name]
        offsets = [position, position + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        position += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for array in arrays.values())


def torch_file(value: Any, storages: Mapping[FakeStorage, np.ndarray[Any, Any]], **options: Any) -> bytes:
    """A torch archive whose storages hold these numbers."""
    file = TorchFile(value, list(storages), **options)
    data = bytearray(file.build())
    from casmodels.formats.archives import Archive

    archive = Archive(BytesSource(bytes(data)))
    for storage, array in storages.items():
        member = archive.member(f"{file.root}/data/{storage.key}")
        assert member is not None
        assert member.length == array.nbytes
        data[member.offset : member.offset + member.length] = array.tobytes()
    return bytes(data)


def state_dict_of(arrays: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """A torch archive of a state dict, each tensor with a storage of its own."""
    storages = {
        name: FakeStorage(STORAGES[array.dtype.name], str(number), array.size, array.itemsize)
        for number, (name, array) in enumerate(arrays.items())
    }
    tensors = {name: FakeTensor(storages[name], array.shape) for name, array in arrays.items()}
    return torch_file(tensors, {storages[name]: array for name, array in arrays.items()})


def save(store: Store, name: str, directory: Path, files: Mapping[str, bytes]) -> str:
    """A version of these files; gives its id."""
    for path, data in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    for old in directory.rglob("*"):
        if old.is_file() and old.relative_to(directory).as_posix() not in files:
            old.unlink()
    return store.checkpoint(name, directory, rehash=True).version


def normal(*shape: int, seed: int = 1, dtype: str = "float32") -> np.ndarray[Any, Any]:
    """Normal numbers of a type."""
    return (np.random.default_rng(seed).standard_normal(shape) * 0.05).astype(dtype)


def bf16(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The bits of 32-bit floats cut to 16."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def rounded(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The bits of 32-bit floats rounded to bfloat16: to the nearest, ties to even; no NaN may be among them."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
