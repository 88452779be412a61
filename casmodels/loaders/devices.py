"""Devices: ``cpu``, ``cuda:N`` and ``mps``, as torch writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from casmodels.errors import DeviceError
from casmodels.extras import library

CPU: Final = "cpu"
_WORDS: Final = re.compile(r"cpu|mps|cuda(?::[0-9]{1,3})?\Z")


def choose(asked: str | None, available: Sequence[str], *, use_gpu: bool, what: str) -> str:
    """The device that is meant by ``asked``, or None for the best that is wanted; ``what`` is loaded there.

    ``available`` are the devices, best first. Raises DeviceError for a word that is no device, and for one not there.
    """
    if asked is None:
        return available[0] if use_gpu or CPU not in available else CPU
    if not isinstance(asked, str) or not _WORDS.fullmatch(asked):
        raise DeviceError(f"there is no device {asked!r}", remedy="a device is cpu, cuda, cuda:N or mps")
    device = "cuda:0" if asked == "cuda" else asked
    if device not in available:
        raise DeviceError(f"there is no device {asked!r} here for {what}", remedy=f"there is {' and '.join(available)}")
    return device


def torch_devices() -> tuple[str, ...]:
    """What torch can use here, best first. Raises MissingExtraError."""
    torch = library("torch", "torch")
    found = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return (*found, CPU)
