"""How much memory a piece of work takes at its worst moment, where the kernel tells."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_REFS: Final = Path("/proc/self/clear_refs")
_RESET_PEAK: Final = "5"


def peak_bytes(work: Callable[[], object]) -> int:
    """How much more memory than before the process held while it worked; 0 where it cannot be told."""
    try:
        _REFS.write_text(_RESET_PEAK)
        before = _held("VmRSS")
    except OSError:
        work()
        return 0
    work()
    return max(_held("VmHWM") - before, 0)


def _held(field: str) -> int:
    match = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match is not None else 0
