"""What the library reports, through `Progress.log` or to a file, as records of `logging`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from casmodels.json_text import json_text
from casmodels.quantities import duration, size

FIELDS: Final = "fields"
"""The attribute of a record that holds all of an event's own fields; each is an attribute by itself, too."""
_FOR_LOGGING: Final = ("text", "logger", "level")


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, logger, level, text, and the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """See Formatter."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "logger": record.name,
            "level": record.levelname.lower(),
            "text": record.getMessage(),
        }
        line.update(getattr(record, FIELDS, {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json_text(line, str)


def log_event(event: Mapping[str, object]) -> None:
    """Log an event (`Progress.log` says which keys it has)."""
    fields = _fields(event)
    logger = logging.getLogger(_logger_name(event))
    logger.log(_level(event), "%s", _text(event, fields), extra={**fields, FIELDS: fields})


def record_of(event: Mapping[str, object]) -> logging.LogRecord:
    """An event as a record that no logger has seen, for a handler of its own."""
    fields = _fields(event)
    record = logging.LogRecord(
        _logger_name(event), _level(event), __file__, 0, "%s", (_text(event, fields),), exc_info=None
    )
    setattr(record, FIELDS, fields)
    return record


def _fields(event: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in event.items() if key not in _FOR_LOGGING}


def _logger_name(event: Mapping[str, object]) -> str:
    return str(event.get("logger", "casmodels"))


def _level(event: Mapping[str, object]) -> int:
    return logging.getLevelNamesMapping().get(str(event.get("level", "info")).upper(), logging.INFO)


def _text(event: Mapping[str, object], fields: Mapping[str, object]) -> str:
    return str(event["text"]) if "text" in event else _sentence(fields)


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
