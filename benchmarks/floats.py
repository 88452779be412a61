"""Large files that look like models, written in blocks: normal floats, or bytes of no known format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK_ELEMENTS = 1 << 24
SPREAD = 0.04  # the standard deviation of MiniLM's larger matrices
WIDTHS = {"F32": 4, "BF16": 2}


def safetensors_header(tensors: Mapping[str, object]) -> bytes:
    """What a safetensors file begins with, from each tensor's type, shape and offsets."""
    text = json.dumps(tensors).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_tensor(path: Path, size_bytes: int, dtype: str, seed: int) -> None:
    """A safetensors file of one tensor; `dtype` is F32 or BF16. About 200 MB/s."""
    import numpy as np

    count = size_bytes // WIDTHS[dtype]
    tensor = {"dtype": dtype, "shape": [count], "data_offsets": [0, count * WIDTHS[dtype]]}
    random = np.random.default_rng(seed)
    with path.open("wb") as stream:
        stream.write(safetensors_header({"weight": tensor}))
        while count:
            stream.write(_block(random, min(count, BLOCK_ELEMENTS), dtype).data)
            count -= min(count, BLOCK_ELEMENTS)


def write_tuned(base: Path, path: Path, seed: int) -> None:
    """The safetensors file of fp32 tensors, trained on: each weight is moved by about a thousandth of what they are."""
    import numpy as np

    random = np.random.default_rng(seed)
    with base.open("rb") as source, path.open("wb") as stream:
        length = source.read(8)
        stream.write(length + source.read(int.from_bytes(length, "little")))
        while block := source.read(4 * BLOCK_ELEMENTS):
            weights = np.frombuffer(block, np.float32)
            moved = random.standard_normal(weights.size, np.float32) * np.float32(SPREAD / 1000)
            stream.write((weights + moved).data)


def write_layers(path: Path, size_bytes: int, seed: int) -> None:
    """A safetensors file in bf16 of layers as a transformer has them: matrices of 32 MiB, each with a small vector."""
    import numpy as np

    rows, columns = 4096, 4096
    header: dict[str, object] = {}
    offset = 0
    for number in range(max(size_bytes // (2 * rows * columns), 1)):
        for name, shape in (("weight", [rows, columns]), ("bias", [rows])):
            end = offset + 2 * rows * (columns if name == "weight" else 1)
            header[f"layers.{number}.{name}"] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
            offset = end
    random = np.random.default_rng(seed)
    with path.open("wb") as stream:
        stream.write(safetensors_header(header))
        while offset:
            count = min(offset // 2, BLOCK_ELEMENTS)
            stream.write(_block(random, count, "BF16").data)
            offset -= 2 * count


def write_opaque(path: Path, size_bytes: int, seed: int) -> None:
    """Random bytes and text by turns, a MiB of each: some of it shrinks, none of it repeats."""
    import numpy as np

    random = np.random.default_rng(seed)
    with path.open("wb") as stream:
        for _ in range(size_bytes >> 21):
            stream.write(random.bytes(1 << 20))
            stream.write(random.integers(97, 123, 1 << 20, np.uint8).data)


def _block(random: np.random.Generator, count: int, dtype: str) -> NDArray[Any]:
    import numpy as np

    values = random.standard_normal(count, np.float32) * np.float32(SPREAD)
    return values if dtype == "F32" else (values.view(np.uint32) >> 16).astype(np.uint16)
