"""A small synthetic family in the shape of the real one, to check that the benchmarks themselves work."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.corpus import Corpus, Member, digests_of
from benchmarks.floats import safetensors_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

YEARS_AGO = 1_600_000_000  # seconds since the epoch
ELEMENTS = 3 << 18  # of each of two tensors


def build(root: Path) -> Corpus:
    """Write the family under `root`, anew each time (a second, about 30 MB)."""
    import numpy as np

    shutil.rmtree(root, ignore_errors=True)
    random = np.random.default_rng(1)
    base = [random.standard_normal(ELEMENTS, dtype=np.float32) * np.float32(0.04) for _ in range(2)]
    tuned = [values + random.standard_normal(ELEMENTS, dtype=np.float32) * np.float32(1e-4) for values in base]
    family: dict[str, tuple[str, list[NDArray[Any]]]] = {
        "01-base": ("F32", base),
        "02-base-bf16": ("BF16", [_bf16(values) for values in base]),
        "03-tuned-100": ("F32", tuned),
        "06-tuned-bf16": ("BF16", [_bf16(values) for values in tuned]),
        "07-tuned-fp16": ("F16", [values.astype(np.float16) for values in tuned]),
        "09-mirror": ("F32", base),
    }
    members = []
    for name, (dtype, tensors) in family.items():
        directory = root / name
        directory.mkdir(parents=True)
        (directory / "config.json").write_text(json.dumps({"name": name}))
        file = "mirrored.safetensors" if name == "09-mirror" else "model.safetensors"
        (directory / file).write_bytes(safetensors_bytes(dtype, tensors))
        for path in directory.iterdir():
            os.utime(path, (YEARS_AGO, YEARS_AGO))  # not so fresh that its times prove nothing
        members.append(Member(name, "synthetic", digests_of(directory)))
    return Corpus(root, tuple(members))


def safetensors_bytes(dtype: str, tensors: list[NDArray[Any]]) -> bytes:
    """The tensors as a safetensors file, named `layer.0` and on."""
    header: dict[str, Any] = {}
    offset = 0
    for index, tensor in enumerate(tensors):
        end = offset + tensor.nbytes
        header[f"layer.{index}"] = {"dtype": dtype, "shape": [tensor.size], "data_offsets": [offset, end]}
        offset = end
    return safetensors_header(header) + b"".join(tensor.tobytes() for tensor in tensors)


def _bf16(values: NDArray[Any]) -> NDArray[Any]:
    """Round to nearest even, as the casts of the libraries do (finite values)."""
    import numpy as np

    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
