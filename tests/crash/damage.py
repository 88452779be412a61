"""A family of models in a store, damaged, and copies that it can be healed from.

`base` and `tuned` share a file of noise; the tensors of `tuned` are deltas of those of `base`. Lost are chunks of the
noise; of the first half of the tensors every second base, so that its delta cannot be read either; of the other half
every second delta. The copies have all of `base`, and of `tuned` the second half of the tensors alone, in a file of
another name: so a delta of the first half is had again by nothing but its base.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Final

import numpy as np

from casmodels.library import Store
from casstore.digests import sha256_digest
from casstore.frames import FrameKind
from casstore.index.rows import FrameRow
from casstore.packs import pack_path
from casstore.testing.damage import Range, flip
from tests.models.reading.weights import normal, safetensors_of

NAMES: Final = ("base", "tuned")
WEIGHTS, NOISE = "model.safetensors", "noise.bin"
HURT: Final = (WEIGHTS, NOISE)
"""The files of each that suffer."""

_SHAPE: Final = (64, 64)
_TENSOR_BYTES: Final = 64 * 64 * 4
_NOISE_BYTES: Final = 2_500_000
"""More than one chunk can have."""


def write_family(directory: Path, copies: Path, random: Random, tensors: int) -> None:
    """Write what `base` and `tuned` hold, and the copies; so many tensors each."""
    base = {f"t{number:03}": normal(*_SHAPE, seed=random.getrandbits(32)) for number in range(tensors)}
    tuned = {name: values * np.float32(1.0001) for name, values in base.items()}
    noise = random.randbytes(_NOISE_BYTES)
    for name, weights in zip(NAMES, (base, tuned), strict=True):
        _write(directory / name, {WEIGHTS: safetensors_of(weights), NOISE: noise, "config.json": b"{}"})
    half = dict(list(tuned.items())[tensors // 2 :])
    _write(copies, {WEIGHTS: safetensors_of(base), NOISE: noise, "half.safetensors": safetensors_of(half)})


def harm(store: Store, directory: Path, random: Random) -> None:
    """Flip a bit in each frame that is to be lost, of what was saved from there."""
    bases, deltas = (_chunks(store, directory / name / WEIGHTS) for name in NAMES)
    bases = [row for row in bases if row.raw_length == _TENSOR_BYTES]
    deltas = [row for row in deltas if row.raw_length == _TENSOR_BYTES]
    assert [row.base for row in deltas] == [row.digest for row in bases], "the tensors are not stored as deltas"
    noise = _chunks(store, directory / NAMES[0] / NOISE)
    assert len(noise) > 1
    half = len(bases) // 2
    for row in (noise[0], noise[-1], *bases[:half:2], *deltas[half::2]):
        path = pack_path(store.directory / "packs", row.pack)
        flip(Range(path, row.offset, row.offset + row.length), random)


def _write(directory: Path, files: Mapping[str, bytes]) -> None:
    directory.mkdir(parents=True)
    for path, data in files.items():
        (directory / path).write_bytes(data)


def _chunks(store: Store, file: Path) -> list[FrameRow]:
    """Where the chunks of a file lie, in order."""
    engine = store._context.engine()
    rows = engine.engine.ledger.rows
    with engine.reading() as reader:
        info = reader.find_blob(sha256_digest(file.read_bytes()))
        assert info is not None
        found = [rows.frame(FrameKind.CHUNK, part.chunk) for part in reader.recipe(info.recipe).parts]
    return [row for row in found if row is not None]
