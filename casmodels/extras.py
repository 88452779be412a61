"""Libraries that come with the extras of casmodels, and what these say meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from casmodels.errors import BrokenLoaderError, MissingExtraError


def library(name: str, extra: str) -> Any:
    """The module. Raises MissingExtraError when it is not installed, BrokenLoaderError when it cannot be imported."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(extra) from error
    except Exception as error:  # whatever runs when a foreign module is imported
        raise BrokenLoaderError(
            f"{name} is installed but cannot be imported: {first_line(error)}",
            remedy=f"mend the installation: `pip install --upgrade 'casmodels[{extra}]'`",
        ) from error


def first_line(error: BaseException) -> str:
    """What an error of another library says, as part of a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


@contextmanager
def hushed(*names: str) -> Iterator[None]:
    """What these loggers say meanwhile is dropped; the empty name is the root's, which gets no handler by it either."""
    root, silent = logging.getLogger(), logging.NullHandler()
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    root.addHandler(silent)
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled
        root.removeHandler(silent)
