"""Logs on stderr: lines of time, logger, level and text; or, on request, JSON lines with every field."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from casmodels.cli.output import duration, shown, size

_FIELDS = "fields"


def configure(*, verbosity: int, as_json: bool, quiet: bool = False) -> None:
    """Let the packages' loggers write to stderr: what happens (1), and every detail (2); with ``quiet`` errors only."""
    handler = _StderrHandler()
    handler.setFormatter(_JsonLines() if as_json else _TextLines("%(asctime)s %(name)s %(levelname)s %(message)s"))
    if verbosity or as_json:
        level = logging.DEBUG if verbosity > 1 else logging.INFO
    else:
        level = logging.ERROR if quiet else logging.WARNING
    for package in ("casmodels", "casstore"):
        logger = logging.getLogger(package)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def write_event(event: Mapping[str, object]) -> None:
    """Log what the library reported (casmodels.progress says which keys an event has)."""
    fields = {key: value for key, value in event.items() if key not in ("text", "logger", "level")}
    level = logging.getLevelNamesMapping().get(str(event.get("level", "info")).upper(), logging.INFO)
    text = str(event["text"]) if "text" in event else _sentence(fields)
    logging.getLogger(str(event.get("logger", "casmodels"))).log(level, "%s", text, extra={_FIELDS: fields})


def _sentence(fields: Mapping[str, object]) -> str:
    words = [str(fields[key]) for key in ("model", "status", "path") if fields.get(key) is not None]
    size_bytes, seconds = fields.get("size_bytes"), fields.get("duration_seconds")
    if isinstance(size_bytes, int):
        words.append(size(size_bytes))
    if isinstance(seconds, int | float):
        words.append(f"in {duration(seconds)}")
    if fields.get("error") is not None:
        words.append(f"({fields['error']})")
    return " ".join(words)


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


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "logger": record.name,
            "level": record.levelname.lower(),
            "text": record.getMessage(),
        }
        line.update(getattr(record, _FIELDS, {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
