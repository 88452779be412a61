"""Memory that a thread's next chunk uses again: for fresh pages the kernel would take as long as a loop over them."""

from __future__ import annotations

import threading
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Purpose: TypeAlias = Literal["expected", "symbols", "contexts", "magnitudes", "bits", "stream"]

KEPT_BYTES: Final = 4 << 20
"""Per purpose and thread, so 24 MiB for each thread at most; what longer chunks take is let go. Chunks of 2^19 words of
float32 make a thread keep 8 MiB, of bfloat16 5.
"""

_SMALLEST_BYTES: Final = 64 << 10


class _Scratch(threading.local):
    def __init__(self) -> None:
        self.kept: dict[Purpose, NDArray[np.uint8]] = {}


_scratch = _Scratch()


def scratch(purpose: Purpose, count: int, dtype: DTypeLike) -> NDArray[Any]:
    """Room for so many items, filled with anything, until the same thread asks again for the same purpose."""
    item = np.dtype(dtype)
    size_bytes = count * item.itemsize
    if size_bytes > KEPT_BYTES:
        return np.empty(count, item)
    kept = _scratch.kept.get(purpose)
    if kept is None or kept.size < size_bytes:
        kept = _scratch.kept[purpose] = np.empty(max(size_bytes, _SMALLEST_BYTES), np.uint8)
    return kept[:size_bytes].view(item)
