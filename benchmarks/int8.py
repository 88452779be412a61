"""A model in int8, as quantisation for inference makes it: each row of a matrix divided by its largest weight."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.floats import safetensors_header

LARGEST = 127
DTYPES = {np.dtype(np.float32): "F32", np.dtype(np.int8): "I8"}


def write_int8(weights: Path, path: Path) -> None:
    """The fp32 safetensors file with its matrices in int8, each with the scales of its rows."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, tensor in _read(weights).items():
        if tensor.ndim != 2:
            tensors[name] = tensor
            continue
        scales = np.abs(tensor).max(axis=1, keepdims=True) / np.float32(LARGEST)
        scales[scales == 0] = 1
        tensors[name] = np.round(tensor / scales).astype(np.int8)
        tensors[f"{name}.scale"] = scales[:, 0].copy()
    _write(tensors, path)


def _read(weights: Path) -> dict[str, NDArray[Any]]:
    """The fp32 tensors of a file."""
    data = weights.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    found = {}
    for name, entry in header.items():
        if entry.get("dtype") == "F32":
            start, stop = entry["data_offsets"]
            found[name] = np.frombuffer(data, np.float32, (stop - start) // 4, begin + start).reshape(entry["shape"])
    return found


def _write(tensors: dict[str, NDArray[Any]], path: Path) -> None:
    header: dict[str, object] = {}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": tensor.shape, "data_offsets": [offset, end]}
        offset = end
    path.write_bytes(safetensors_header(header) + b"".join(tensor.tobytes() for tensor in tensors.values()))
