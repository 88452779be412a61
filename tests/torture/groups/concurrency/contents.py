"""What the writers save: a token says which bytes, so that whoever sees a version can tell what it must hold."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import numpy as np

from casstore.testing.builders import noise
from tests.formats.arrays import as_safetensors

_ELEMENTS = 5000
_TENSORS = 4


def new_token(chance: random.Random, serial: str) -> str:
    """Of few kinds, so that writers save the same chunks, and others like them, at once. The serial makes it new."""
    return f"{chance.randrange(3)}-{chance.randrange(8)}-{chance.randrange(10)}-{serial}"


@cache
def _model(family: int, trained: int) -> bytes:
    words = np.random.default_rng(family)
    steps = np.random.default_rng(100 + trained)
    return as_safetensors(
        {
            f"layer.{number}": (words.normal(0, 0.05, _ELEMENTS) + steps.normal(0, 1e-5, _ELEMENTS)).astype("<f4")
            for number in range(_TENSORS)
        }
    )


def files_of(token: str) -> dict[str, bytes]:
    """The files of a version."""
    family, trained, extra, serial = token.split("-", 3)
    return {
        "model.safetensors": _model(int(family), int(trained)),
        "extra.bin": noise(int(extra), 20_000),
        "config.json": f'{{"serial": "{serial}"}}'.encode(),
    }


def lay_out(token: str, directory: Path) -> None:
    """The directory that a writer saves."""
    directory.mkdir(exist_ok=True)
    for name, data in files_of(token).items():
        (directory / name).write_bytes(data)
