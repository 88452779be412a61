"""JSON as every reader takes it."""

from __future__ import annotations

import json
from collections.abc import Callable


def json_text(document: object, default: Callable[[object], object], indent: int | None = None) -> str:
    """A document as JSON in ASCII. ``default`` makes of other objects what JSON has.

    NaN and the infinities, which JSON has not, are null.
    """
    try:
        return json.dumps(document, default=default, indent=indent, allow_nan=False)
    except ValueError:
        finite = json.loads(json.dumps(document, default=default), parse_constant=lambda _: None)
        return json.dumps(finite, indent=indent)
