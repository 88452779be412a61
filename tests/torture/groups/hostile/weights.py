"""Model files whose headers lie, and pickles that would run something: in, out, compared, loaded and verified."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from casmodels.library import Store
from casstore.errors import StoreError
from tests.formats.arrays import FORMATS, Arrays, as_npz
from tests.formats.building import archive, safetensors, state_dict, with_header
from tests.torture.groups.hostile.memory import peak_bytes
from tests.torture.groups.hostile.stores import open_store
from tests.torture.plan import Outcome, Plan

_MOST_BYTES: Final = 256 << 20
_LONGEST_SECONDS: Final = 20.0
_ARRAYS: Final[Arrays] = {"a.weight": np.ones((30, 40), "<f4"), "a.bias": np.ones(40, "<f2"), "n": np.array([3], "<i8")}


def run(plan: Plan) -> Iterator[Outcome]:
    """What is known to be nasty, then sound files changed at random."""
    root = plan.work / "weights"
    root.mkdir()
    canary = root / "canary"
    with open_store(root) as store:
        _save(store, root, "sound", {name: build(_ARRAYS) for name, build in FORMATS.items()})
        nasty = _headers() | _pickles(canary)
        failures = [failure for what, files in nasty.items() for failure in _try(store, root, what, files)]
        if canary.exists():
            failures.append("a pickle was executed")
        yield Outcome("model files with headers and pickles made to harm", len(nasty), tuple(failures))
        yield _changed(store, root, plan)


def _changed(store: Store, root: Path, plan: Plan) -> Outcome:
    """Files of every format with a few bytes changed near their headers, all formats in one version."""
    chance = plan.random("weights")
    sound = {name: build(_ARRAYS) for name, build in FORMATS.items()}
    count = 6 if plan.is_short else 200
    failures: list[str] = []
    for number in range(count):
        files = {name: _damaged(data, chance) for name, data in sound.items()}
        failures += _try(store, root, f"changed files, number {number}", files)
    return Outcome("model files changed at random, in six formats", count * len(sound), tuple(failures))


def _damaged(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        place = chance.choice((chance.randrange(64), chance.randrange(len(changed)), -chance.randrange(1, 200)))
        new = chance.choice((b"\xff" * 8, bytes(8), b"\x7f", chance.randbytes(chance.randint(1, 9)), b"9" * 19))
        changed[place : place + chance.choice((0, len(new)))] = new
    return bytes(changed)


def _save(store: Store, root: Path, name: str, files: dict[str, bytes]) -> None:
    source = root / "in"
    source.mkdir(exist_ok=True)
    for path in source.iterdir():
        path.unlink()
    for file, content in files.items():
        (source / file).write_bytes(content)
    store.checkpoint(name, source)


def _try(store: Store, root: Path, what: str, files: dict[str, bytes]) -> Iterator[str]:
    """Save, verify, write out, compare and load; gives one sentence for each thing that is not as it should be."""
    began = time.process_time()
    out = root / "out"

    def save_and_write() -> None:
        _save(store, root, "hostile", files)
        store.checkout("hostile", out)

    peak = peak_bytes(save_and_write)
    for file, content in files.items():
        if (out / file).read_bytes() != content:
            yield f"{what}: {file} came back other than it was"
    if not store.verify("hostile@~0", data=True).ok:
        yield f"{what}: verify finds damage"
    uses: list[Callable[[], object]] = [lambda: store.diff("sound", "hostile"), lambda: store.load_tensors("hostile")]
    uses += [lambda file=file: store.load_tensors("hostile", path=file) for file in files]  # type: ignore[misc]
    for use in uses:
        try:
            peak = max(peak, peak_bytes(use))
        except StoreError:
            continue
        except Exception as error:
            yield f"{what}: raised {error!r:.200}"
    if peak > _MOST_BYTES:
        yield f"{what}: took {peak} bytes of memory"
    if time.process_time() - began > _LONGEST_SECONDS:
        yield f"{what}: took {time.process_time() - began:.0f} s of processors"


def _headers() -> dict[str, dict[str, bytes]]:
    """What claims very much, or is very deep, or very many, each in its format."""
    huge, far = (1 << 63) - 1, 1 << 40
    tensor = {"a": {"dtype": "F32", "shape": [far // 4], "data_offsets": [0, far]}}
    many = {f"t{number}": ("U8", [0], 0) for number in range(20_000)}
    npy = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999,), }".ljust(
        118
    )
    safe = {
        "a header of 2^63 bytes": struct.pack("<Q", huge) + b'{"a":1}',
        "a header of 64 GiB": struct.pack("<Q", 1 << 36) + b'{"a":1}',
        "a tensor of 2^40 bytes": with_header(json.dumps(tensor).encode(), 64),
        "shapes that overflow": with_header(
            b'{"a":{"dtype":"F32","shape":[%d,%d,4],"data_offsets":[0,0]}}' % (huge, huge), 64
        ),
        "thousands of objects in each other": with_header(b'{"a":' * 50_000, 64),
        "thousands of lists in each other": with_header(b'{"a":' + b"[" * 50_000, 64),
        "a number of thousands of digits": with_header(
            b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}' % (b"9" * 4000), 64
        ),
        "very many tensors of nothing": safetensors(many),
    }
    gguf = b"GGUF" + struct.pack("<IQQ", 3, huge, huge)
    bomb = {"archive/data.pkl": bytes(32 << 20)}
    others = {
        "a GGUF of 2^63 tensors": {"model.gguf": gguf + bytes(64)},
        "a GGUF text of 2^63 bytes": {"model.gguf": b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, huge) + bytes(64)},
        "an npy of 40 TB": {"a.npy": npy + b"\n" + bytes(64)},
        "an npz of 40 TB": {"a.npz": archive({"a.npy": npy + b"\n" + bytes(64)})},
        "a zip bomb for a pickle": {"pytorch_model.bin": archive(bomb, zipfile.ZIP_DEFLATED)},
        "a zip whose directory claims 2^32 members": {"a.npz": as_npz(_ARRAYS)[:-12] + b"\xff" * 12},
        "an HDF5 root beyond the end": {
            "m.h5": b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00" + struct.pack("<4Q", 0, 1, huge, huge)
        },
        "an ONNX field of 2^63 bytes": {"m.onnx": b"\x08\x03\x3a" + b"\xff" * 8 + b"\x7f" + bytes(64)},
        "an index of shards that go up": {
            "model.safetensors.index.json": json.dumps({"weight_map": {"a": "../../../etc/passwd"}}).encode(),
            "model.safetensors": safetensors({"a": ("U8", [1], 1)}),
        },
        "an index very deep": {"model.safetensors.index.json": b'{"weight_map":' * 50_000},
    }
    return {what: {"model.safetensors": data} for what, data in safe.items()} | others


class _Runs:
    """Pickled, something that makes a file when it is loaded."""

    def __init__(self, canary: Path, call: Callable[[str], object]) -> None:
        self._canary = canary
        self._call = call

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return self._call, (f"touch {self._canary}" if self._call is not _touch else str(self._canary),)


def _touch(path: str) -> None:
    Path(path).touch()


def _pickles(canary: Path) -> dict[str, dict[str, bytes]]:
    """Pickles that would run a program or a function, in every kind of file that holds one."""
    import os

    found: dict[str, dict[str, bytes]] = {}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for call in (os.system, _touch):
            data = pickle.dumps({"a.weight": _Runs(canary, call)}, protocol)
            array = io.BytesIO()
            np.save(array, np.array([_Runs(canary, call)], dtype=object), allow_pickle=True)
            file = state_dict(a=(2, 3))
            file.extra_members["data.pkl"] = data
            found[f"a pickle of protocol {protocol} that calls {call.__name__}"] = {
                "pytorch_model.bin": file.build(),
                "legacy.pt": data,
                "a.npy": array.getvalue(),
                "a.npz": archive({"a.npy": array.getvalue()}),
                "optimizer.pkl": data,
            }
    return found
