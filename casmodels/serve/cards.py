"""The model card: the YAML at the head of a README.md, as plain JSON values."""

from __future__ import annotations

import logging
import math
import re
from typing import Any, Final

MAX_CARD_BYTES: Final = 64 * 1024
"""Of a README no more is read: a card's YAML stands at its head and is some hundred bytes long."""
_MAX_VALUES: Final = 10_000
"""YAML can name one list many times over; a card that unfolds to more values than this is no card."""

_LEAST, _MOST = -(1 << 63), (1 << 64) - 1
"""YAML has whole numbers of any length; of more digits than this few make a number, and Python no text."""

_HEAD = re.compile(r"\s*---[\r\n].*?[\r\n]---", re.DOTALL)

_log = logging.getLogger(__name__)


def read_card(text: str) -> dict[str, Any]:
    """The card's fields; empty when there is none or it cannot be read."""
    if not _HEAD.match(text):
        return {}
    from huggingface_hub import ModelCard

    try:
        card = plain(ModelCard(text, ignore_metadata_errors=True).data.to_dict())  # type: ignore[no-untyped-call]
    # A card is somebody's hand-written YAML: whatever is wrong with it, the model can still be served.
    except Exception as error:
        _log.info("a model card cannot be read: %s", type(error).__name__)
        return {}
    return card if isinstance(card, dict) else {}


def plain(value: object) -> Any:
    """A value of YAML or Python's JSON as one that every reader of JSON takes.

    Raises ValueError for one that has too many values, RecursionError for one that is too deep.
    """
    return _Plain().of(value)


class _Plain:
    """Turns YAML's values into JSON's, counting them."""

    def __init__(self) -> None:
        self._left = _MAX_VALUES

    def of(self, value: object) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many values")
        if isinstance(value, dict):
            return {str(key): self.of(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set):
            return [self.of(item) for item in value]
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, int) and not _LEAST <= value <= _MOST:
            return None
        if value is None or isinstance(value, bool | int | float | str):
            return value
        return str(value)
