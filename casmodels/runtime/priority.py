"""Low-priority mode: work that takes what others leave of the processor and the disk.

Only the thread that asks is lowered, never the process: who uses casmodels as a library keeps their own
threads as they were. Most systems never let a thread rise again, and threads that a lowered thread starts
inherit its priority, so only threads made for the work may ask, and nothing that holds a lock may run in one.
Why these means, and what they cost a neighbour: docs/adr, "Low-priority mode".
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lowered:
    """What lowering a thread achieved: its share of the processor, its place at the disk."""

    cpu: bool
    io: bool

    @property
    def notices(self) -> tuple[str, ...]:
        """What to log: a line for each, and a last one when both were achieved."""
        lines = []
        if self.cpu:
            lines.append("Process priority set to low")
        if self.io:
            lines.append("I/O priority set to IDLE")
        if self.cpu and self.io:
            lines.append("Low-resource mode configured")
        return tuple(lines)


if sys.platform == "linux":

    def _lower() -> Lowered:
        import psutil

        thread = threading.get_native_id()
        io = cpu = True
        try:
            psutil.Process(thread).ionice(psutil.IOPRIO_CLASS_IDLE)
        except (psutil.Error, OSError):
            io = False
        try:
            os.setpriority(os.PRIO_PROCESS, thread, 19)
        except OSError:
            cpu = False
        return Lowered(cpu=cpu, io=io)

elif sys.platform == "darwin":
    # PRIO_DARWIN_THREAD and PRIO_DARWIN_BG of <sys/resource.h>; the os module names them only from 3.12 on.
    _THREAD = 3
    _BACKGROUND = 0x1000

    def _lower() -> Lowered:
        """One call for both, see setpriority(2); 0 is the calling thread."""
        try:
            os.setpriority(_THREAD, 0, _BACKGROUND)
        except OSError:
            return Lowered(cpu=False, io=False)
        return Lowered(cpu=True, io=True)

elif sys.platform == "win32":
    _THREAD_MODE_BACKGROUND_BEGIN = 0x00010000

    def _lower() -> Lowered:
        """One call for both, see SetThreadPriority; psutil has it for whole processes only."""
        import ctypes

        kernel = ctypes.windll.kernel32
        kernel.GetCurrentThread.restype = ctypes.c_void_p
        kernel.SetThreadPriority.argtypes = (ctypes.c_void_p, ctypes.c_int)
        done = bool(kernel.SetThreadPriority(kernel.GetCurrentThread(), _THREAD_MODE_BACKGROUND_BEGIN))
        return Lowered(cpu=done, io=done)

else:

    def _lower() -> Lowered:
        return Lowered(cpu=False, io=False)


def lower_current_thread() -> Lowered:
    """Give the calling thread the lowest CPU and I/O priority, for good; others keep theirs.

    Never raises: a system that forbids it (a container's filter, say) shows in the result.
    """
    return _lower()


def thread_initializer(report: Callable[[Lowered], None] | None = None) -> Callable[[], None]:
    """An initializer for a ThreadPoolExecutor: lowers each of its threads.

    ``report`` is called once, by the first thread, with what was achieved; by default that is logged.
    """
    tell = _log_notices if report is None else report
    told = threading.Lock()

    def lower() -> None:
        lowered = lower_current_thread()
        if told.acquire(blocking=False):
            tell(lowered)

    return lower


def _log_notices(lowered: Lowered) -> None:
    for notice in lowered.notices:
        _log.info(notice)
    if not lowered.cpu or not lowered.io:
        _log.warning("low-priority mode is incomplete here: CPU %s, I/O %s", lowered.cpu, lowered.io)
