"""Whether a model fits in memory, asked before it is loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from casmodels.errors import NoRoomError
from casmodels.quantities import size

_GROUP: Final = Path("/sys/fs/cgroup")
"""Where a container sees its own limits (control groups, version 2)."""

_KEPT_FREE_BYTES: Final = 64 << 20
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

    free, in_group = int(psutil.virtual_memory().available), _free_in_group()
    return free if in_group is None else min(free, in_group)


def _free_in_group() -> int | None:
    """What the limit of a container leaves, None where there is none. Pages of files that nobody uses count as free."""
    try:
        limit = int((_GROUP / "memory.max").read_text())
        used = int((_GROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        return max(limit - used + int(stat["inactive_file"]), 0)
    except (OSError, ValueError, KeyError):
        return None


def check(what: str, weights_bytes: int, device: str, copies: int, act: str = "load") -> None:
    """Raise NoRoomError where the weights, as often as they lie there at once, do not fit.

    ``copies`` counts in this machine's memory. On the way to a GPU the weights lie in both. ``act`` is the verb for
    what is to be done with the model.
    """
    _check(what, weights_bytes * copies + _KEPT_FREE_BYTES, "cpu", act)
    if device.startswith("cuda"):
        _check(what, weights_bytes + _KEPT_FREE_BYTES, device, act)


def _check(what: str, needed_bytes: int, device: str, act: str) -> None:
    free = free_bytes(device)
    if free is not None and needed_bytes > free:
        where = "memory" if device == "cpu" else f"memory of {device}"
        raise NoRoomError(
            f"{what} does not fit: to {act} it takes {size(needed_bytes)} of {where}, and {size(free)} are free",
            remedy=f"unload other models, take a smaller or quantised one, or {act} it all the same with force=True",
        )
