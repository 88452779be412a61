"""What kind of file a repo's path names, told from the path alone: weights of which format, which shard,
which variant.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

SAFETENSORS: Final = "safetensors"
TORCH: Final = "torch"
LOADABLE: Final = frozenset({SAFETENSORS, TORCH})
FALLBACKS: Final = ("onnx", "gguf", "tensorflow", "flax", "openvino", "coreml", "rust", "nemo", "tensorrt")
"""The formats that other runtimes read; the first that is there is taken where there is nothing else."""

_TORCH_SUFFIXES: Final = frozenset({".bin", ".pt", ".pth", ".ckpt"})
_SUFFIXES: Final = {
    ".safetensors": SAFETENSORS,
    ".onnx": "onnx",
    ".gguf": "gguf",
    ".ggml": "gguf",
    ".h5": "tensorflow",
    ".keras": "tensorflow",
    ".pb": "tensorflow",
    ".tflite": "tensorflow",
    ".msgpack": "flax",
    ".mlmodel": "coreml",
    ".ot": "rust",
    ".nemo": "nemo",
    ".engine": "tensorrt",
    ".plan": "tensorrt",
}
_FOLDERS: Final = {
    "onnx": "onnx",
    "gguf": "gguf",
    "ggml": "gguf",
    "tensorflow": "tensorflow",
    "tf": "tensorflow",
    "tflite": "tensorflow",
    "flax": "flax",
    "openvino": "openvino",
    "coreml": "coreml",
    "rust": "rust",
    "tensorrt": "tensorrt",
}
"""Folders that hold a whole export, its small files included."""

_ONNX_DATA: Final = re.compile(r"\.onnx[._]data[\w.-]*\Z")
_TENSORFLOW_DATA: Final = re.compile(r"\.(?:data-\d+-of-\d+|ckpt\.index|ckpt\.meta)\Z|\Avariables\.index\Z")
_COREML_FOLDER: Final = re.compile(r"\.mlpackage\Z|\.mlmodelc\Z")
_NO_WEIGHTS: Final = re.compile(r"(?:training_args|tokenizer|vocab)\b")
"""What torch's suffixes also stand for."""

_SHARD: Final = re.compile(r"(?P<stem>.+)[-_](?P<number>\d{2,})-of-(?P<count>\d{2,})\Z")
_VARIANT: Final = re.compile(
    r"(?P<stem>.+)\.(?P<variant>fp32|bf16|fp16|fp8|float32|bfloat16|float16|int8|int4|8bit|4bit|ema|non[_-]ema)\Z"
)
_INDEX: Final = re.compile(r"(?P<stem>.+)\.(?P<suffix>safetensors|bin)\.index(?:\.(?P<variant>[\w-]+))?\.json\Z")


@dataclass(frozen=True, slots=True)
class Weights:
    """What one file of weights is. Files that hold the same model in its directory have the same role,
    however they are cut (``number`` of ``count`` shards; 0 of 0 is whole), whatever their format and
    precision (``variant``)."""

    directory: str
    role: str
    variant: str
    format: str
    number: int = 0
    count: int = 0


def format_of(path: str, names: Collection[str]) -> str | None:
    """The format of the weights, or of the export, that a path belongs to; None for other files.

    ``names`` are all paths of the repo: OpenVINO's ``.bin`` is told from torch's by the ``.xml`` beside it.
    """
    pure = PurePosixPath(path)
    for folder in pure.parts[:-1]:
        if folder.lower() in _FOLDERS:
            return _FOLDERS[folder.lower()]
        if _COREML_FOLDER.search(folder.lower()):
            return "coreml"
    name, suffix = pure.name.lower(), pure.suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if _ONNX_DATA.search(name):
        return "onnx"
    if _TENSORFLOW_DATA.search(name):
        return "tensorflow"
    other = {".bin": ".xml", ".xml": ".bin"}.get(suffix)
    if other is not None and str(pure.with_suffix(other)) in names:
        return "openvino"
    if suffix in _TORCH_SUFFIXES and not _NO_WEIGHTS.match(name):
        return "gguf" if name.startswith("ggml") else TORCH
    return None


def weights_of(path: str, format_name: str) -> Weights:
    """What a file of safetensors or torch weights is."""
    pure = PurePosixPath(path)
    stem, variant, number, count = pure.stem.lower(), "", 0, 0
    for _ in range(2):
        # The variant stands before the shard's number in some releases of the libraries, after it in others.
        if match := _VARIANT.match(stem):
            stem, variant = match["stem"], match["variant"]
        if match := _SHARD.match(stem):
            stem, number, count = match["stem"], int(match["number"]), int(match["count"])
    return Weights(str(pure.parent), _role(stem), variant, format_name, number, count)


def index_of(path: str) -> Weights | None:
    """The weights whose shards a ``….index.json`` lists, or None for other files."""
    pure = PurePosixPath(path)
    match = _INDEX.match(pure.name.lower())
    if match is None:
        return None
    format_name = SAFETENSORS if match["suffix"] == "safetensors" else TORCH
    base = weights_of(str(pure.with_name(match["stem"] + ".x")), format_name)
    return Weights(base.directory, base.role, match["variant"] or base.variant, format_name)


def _role(stem: str) -> str:
    """``pytorch_model.bin`` and ``model.safetensors`` are the same model."""
    return stem.replace("pytorch_", "")
