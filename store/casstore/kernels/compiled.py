"""Compiled loops, for processes that have enough to do for them to pay.

To load them takes 0.06 s and 51 MiB, and the first process on a machine has to compile them, so each kind of work
begins with NumPy (ADR 006, 022). A process that cannot have them goes on with NumPy: both give the same bytes.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Kernel: TypeAlias = Callable[..., Any]

_log = logging.getLogger(__name__)
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Loop:
    """A function to compile. Types are written as "int64" for a number, "uint8[]" for an array that it fills, and
    "const uint8[]" for one that it only reads; arrays are contiguous and aligned. It returns an int64, or nothing.

    It can neither raise nor take memory: what it needs of that it is given. No width compiles before it is needed.
    """

    source: Kernel
    parameters: tuple[str, ...]
    result: str


class Loops:
    """The loops of one kind of work. Safe to use from many threads."""

    def __init__(self, pays_after_bytes: int) -> None:
        self.pays_after_bytes = pays_after_bytes
        """The work that a process must have seen before compiled loops would have made up for loading them."""
        self._loops: dict[str, Loop] = {}
        self._compiled: dict[str, Kernel | None] = {}
        self._worked_bytes = 0

    @property
    def names(self) -> list[str]:
        """What can be asked for."""
        return sorted(self._loops)

    def add(self, name: str, source: Kernel, *parameters: str, result: str = "void") -> None:
        """Take in a loop; nothing is compiled."""
        self._loops[name] = Loop(source, parameters, result)

    def note_work(self, work_bytes: int) -> None:
        """Count work that is being done in this process."""
        self._worked_bytes += work_bytes  # threads may lose each other's sums: it need not be exact

    def find(self, name: str) -> Kernel | None:
        """The compiled loop, or None where NumPy is to do it: while one thread compiles, NumPy serves the others."""
        if self._worked_bytes < self.pays_after_bytes:
            return None
        if name not in self._compiled and _lock.acquire(blocking=False):
            try:
                if name not in self._compiled:
                    self._compiled[name] = self.compile(name)
            finally:
                _lock.release()
        return self._compiled.get(name)

    def compile(self, name: str) -> Kernel | None:
        """The loop, compiled or from the cache; None where it cannot be had."""
        if sys.byteorder != "little":  # a loop takes words as the machine has them
            return None
        # Whatever keeps LLVM or Numba from working (absent, broken, a loop that it cannot compile) costs speed only,
        # so none of it may stop the work.
        try:
            from casstore.kernels.objects import load

            return load(name, self._loops[name])
        except Exception as error:
            _log.info("no compiled kernel %s, NumPy does its work: %s", name, error)
            return None


PLANES: Final = Loops(pays_after_bytes=256 << 20)
"""Splitting words into planes and joining them: NumPy does that at half the speed of compiled loops (ADR 006)."""

DELTAS: Final = Loops(pays_after_bytes=1 << 20)
"""Deltas, where NumPy has a twentieth of the speed (ADR 018)."""
