"""Libraries that loaders run, and what these say meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from casmodels.extras import first_line, library

__all__ = ["first_line", "hushed", "library"]


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
