"""How much memory a piece of work takes at its worst moment, where the kernel tells."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

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


def peak_bytes_of(process: int) -> int:
    """The most memory that another process ever held. Raises FileNotFoundError where the kernel does not tell."""
    return _held("VmHWM", process)


def _held(field: str, process: int | str = "self") -> int:
    match = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match is not None else 0
