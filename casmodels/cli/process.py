"""The process around a command: its streams, its signals, and how it ends."""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import casmodels

LINGER_SECONDS = 3.0


def run_and_leave(arguments: Sequence[str]) -> NoReturn:
    """Run one command line and end the process with its exit code."""
    _leave(run(arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command line in a process that is there for nothing else, and give its exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    _prepare_streams()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries tell programmers is not for users
    try:
        return _obey(arguments)
    except KeyboardInterrupt:  # while it was starting, or once more while it was ending
        print("interrupted", file=sys.stderr)
        return 130


def collect_garbage() -> None:
    """Have garbage looked for again where `main` ended that, but not in what was made up to now."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _obey(arguments: Sequence[str]) -> int:
    if list(arguments) == ["--version"]:  # nothing is imported for it
        print(f"casmodels {casmodels.__version__}")
        return 0
    from casmodels.cli.program import run

    return run(arguments)


def _interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise KeyboardInterrupt


def _prepare_streams() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            # A locale or console that lacks a character gets its escape instead of an exception.
            stream.reconfigure(errors="backslashreplace")


def _leave(code: int) -> NoReturn:
    if code == 130:
        _leave_interrupted()
    if _others_at_work():
        _flush()
        sys.exit(code)  # which waits for them
    # As sys.exit does it, but what was imported is not taken apart: that takes as long as many a command's work.
    atexit._run_exitfuncs()
    _flush()
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # Nobody reads it any more; without this the interpreter would complain of that at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _leave_interrupted() -> None:
    # Another Ctrl-C ends the process at once, and so does a thread that hangs on a dead connection: the store
    # holds what was committed whatever is torn here.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    deadline = time.monotonic() + LINGER_SECONDS
    for thread in _others_at_work():
        thread.join(max(0.0, deadline - time.monotonic()))
    if _others_at_work():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)


def _others_at_work() -> list[threading.Thread]:
    """The threads that the interpreter would wait for."""
    return [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
