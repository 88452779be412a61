"""What the library reports through `Progress.log`, as records of `logging`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from casmodels.quantities import duration, size

FIELDS: Final = "fields"
"""The attribute of a record that holds all of an event's own fields; each is an attribute by itself, too."""
_FOR_LOGGING: Final = ("text", "logger", "level")


def log_event(event: Mapping[str, object]) -> None:
    """Log an event (`Progress.log` says which keys it has)."""
    fields = {key: value for key, value in event.items() if key not in _FOR_LOGGING}
    level = logging.getLevelNamesMapping().get(str(event.get("level", "info")).upper(), logging.INFO)
    text = str(event["text"]) if "text" in event else _sentence(fields)
    logger = logging.getLogger(str(event.get("logger", "casmodels")))
    logger.log(level, "%s", text, extra={**fields, FIELDS: fields})


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
