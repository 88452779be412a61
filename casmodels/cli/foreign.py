"""The code of models and of their libraries, while a command runs it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

from casmodels.errors import NotLoadableError

_STDOUT, _STDERR = 1, 2


@contextmanager
def foreign_code(target: str) -> Iterator[None]:
    """Keep stdout for the command's answer: what is printed there meanwhile, from Python or not, goes to stderr.

    Raises NotLoadableError where the code of ``target`` would end the program.
    """
    try:
        with _descriptor_of_stderr(), redirect_stdout(sys.stderr):
            yield
    except SystemExit as error:
        raise NotLoadableError(
            f"{target} cannot be run: its code, or its library's, ends the program (SystemExit: {error.code})",
            remedy="see what it printed before",
        ) from error


@contextmanager
def _descriptor_of_stderr() -> Iterator[None]:
    """Let the descriptor of stdout lead to stderr, unless whoever started us has closed one of them."""
    _flush()
    before = None
    with suppress(OSError):
        before = os.dup(_STDOUT)
        os.dup2(_STDERR, _STDOUT)
    try:
        yield
    finally:
        _flush()
        if before is not None:
            os.dup2(before, _STDOUT)
            os.close(before)


def _flush() -> None:
    """Python has a buffer for stdout, and the C library another."""
    for stream in (sys.__stdout__, sys.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.flush()
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)
