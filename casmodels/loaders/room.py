"""Whether a model fits in memory, asked before it is loaded."""

from __future__ import annotations

import sys

from casmodels.errors import NoRoomError

_KEPT_FREE_BYTES = 64 << 20
"""Beside the weights: buffers of the store, and what the libraries take for themselves."""


def free_bytes(device: str) -> int | None:
    """The memory that a device has free, for ``cpu`` and ``mps`` this machine's; None where nobody can tell.

    A GPU is asked through torch where that is loaded: to load it only for this would cost more than it is worth.
    """
    if device.startswith("cuda"):
        torch = sys.modules.get("torch")
        known = torch is not None and torch.cuda.is_available()
        return int(torch.cuda.mem_get_info(device)[0]) if torch is not None and known else None
    import psutil

    return int(psutil.virtual_memory().available)


def check(what: str, weights_bytes: int, device: str, copies: int) -> None:
    """Raise NoRoomError where the weights, as often as they lie there at once, do not fit.

    ``copies`` counts in this machine's memory. On the way to a GPU the weights lie in both.
    """
    _check(what, weights_bytes * copies + _KEPT_FREE_BYTES, "cpu")
    if device.startswith("cuda"):
        _check(what, weights_bytes + _KEPT_FREE_BYTES, device)


def _check(what: str, needed_bytes: int, device: str) -> None:
    free = free_bytes(device)
    if free is not None and needed_bytes > free:
        where = "memory" if device == "cpu" else f"memory of {device}"
        raise NoRoomError(
            f"{what} does not fit: to load it takes {_shown(needed_bytes)} of {where}, and {_shown(free)} are free",
            remedy="unload other models, take a smaller or quantised one, or load it all the same with force=True",
        )


def _shown(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.1f} GiB" if size_bytes >= 1 << 30 else f"{size_bytes / (1 << 20):.1f} MiB"
