"""Forked children for tests: they end without unwinding what the parent has open."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable


def in_child(work: Callable[[], object]) -> int:
    """Run in a forked child, which ends with 0, or with 1 when the work raised; gives its pid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn where there are threads
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def ended_well(pid: int) -> bool:
    """Wait for a child; whether its work raised nothing."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
