"""The process around a command: its streams, its signals, and how it ends."""

from __future__ import annotations

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
    signal.signal(signal.SIGTERM, _interrupt)
    _prepare_streams()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries tell programmers is not for users
    try:
        code = _run(arguments)
    except KeyboardInterrupt:  # while it was starting, or once more while it was ending
        print("interrupted", file=sys.stderr)
        code = 130
    _leave(code)


def _run(arguments: Sequence[str]) -> int:
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
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            # Nobody reads it any more; without this the interpreter would complain of that at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def _leave_interrupted() -> None:
    # Another Ctrl-C ends the process at once, and so does a thread that hangs on a dead connection: the store
    # holds what was committed whatever is torn here.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    deadline = time.monotonic() + LINGER_SECONDS
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    for thread in others:
        if not thread.daemon:
            thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() and not thread.daemon for thread in others):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)
