"""ZipNN as a directory archiver, since it comes as a library: `zipnn_tool.py put|get SOURCE TARGET`.

Each weights file is compressed whole with its own element type, as the project's scripts do; other files are copied.
Run by the Python that has torch and zipnn.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

TYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
SUFFIX = ".znn"


def put(source: Path, target: Path) -> None:
    from zipnn import ZipNN

    for path in _files(source):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        element = _element_type(path)
        if element is None:
            shutil.copyfile(path, copy)
        else:
            packed = ZipNN(input_format="byte", bytearray_dtype=element).compress(bytearray(path.read_bytes()))
            copy.with_name(copy.name + SUFFIX).write_bytes(packed)


def get(source: Path, target: Path) -> None:
    from zipnn import ZipNN

    for path in _files(source):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == SUFFIX:
            copy.with_suffix("").write_bytes(ZipNN(input_format="byte").decompress(path.read_bytes()))
        else:
            shutil.copyfile(path, copy)


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _element_type(path: Path) -> str | None:
    """The type of most of the file's numbers; None for what is no weights file."""
    if path.suffix == ".bin":
        return "float32"
    if path.suffix != ".safetensors":
        return None
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    header.pop("__metadata__", None)
    largest = max(header.values(), key=lambda tensor: tensor["data_offsets"][1] - tensor["data_offsets"][0])
    return TYPES.get(largest["dtype"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["put", "get"])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    (put if options.action == "put" else get)(options.source, options.target)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
