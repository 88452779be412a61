"""Logs on stderr: lines of time, logger, level and text; or, on request, JSON lines with every field."""

from __future__ import annotations

import logging
import sys

from casmodels.cli.output import shown
from casmodels.events import JsonLines


def configure(*, verbosity: int, as_json: bool, quiet: bool = False) -> None:
    """Let the packages' loggers write to stderr: what happens (1), and every detail (2); with ``quiet`` errors only."""
    handler = _StderrHandler()
    handler.setFormatter(JsonLines() if as_json else _TextLines("%(asctime)s %(name)s %(levelname)s %(message)s"))
    if verbosity or as_json:
        level = logging.DEBUG if verbosity > 1 else logging.INFO
    else:
        level = logging.ERROR if quiet else logging.WARNING
    for package in ("casmodels", "casstore"):
        logger = logging.getLogger(package)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


class _StderrHandler(logging.Handler):
    # Looks stderr up for every line: while bars are drawn, another object stands in for it.
    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except OSError:
            return


class _TextLines(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 logging names it so
        return shown(super().formatMessage(record))
