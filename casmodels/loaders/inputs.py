"""Data of the user's own for a model, out of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from casmodels.loaders.batches import length
from casstore.errors import InvalidInputError, NotFoundError

_REMEDY = "use a file of lines of text, a .npy of numbers, or a .json of a list or of lists by name"


def read_input(path: Path) -> Any:
    """The items in a file: an array of ``.npy``, what stands in ``.json``, else the lines that are not empty.

    Raises NotFoundError, and InvalidInputError for a file that holds none of these, or cannot be read.
    """
    read = {".npy": _read_npy, ".json": _read_json}.get(path.suffix.lower(), _read_lines)
    try:
        if not path.exists():
            raise NotFoundError(f"{path} does not exist", remedy="check the path")
        if path.is_dir():
            raise InvalidInputError(f"{path} is a directory", remedy=_REMEDY)
        data = read(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidInputError(f"{path} cannot be read: {reason}", remedy="name a file that you may read") from error
    try:
        items = length(data)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path} holds no items that are all alike", remedy=_REMEDY) from error
    if not items:
        raise InvalidInputError(f"{path} is empty", remedy=_REMEDY)
    return data


def _read_npy(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InvalidInputError(f"{path} is no .npy file of numbers", remedy=_REMEDY) from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _no_text(path) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path} is no JSON: {error}", remedy=_REMEDY) from error


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_text(path) from error
    if "\0" in text:
        raise _no_text(path)
    return [line for line in text.splitlines() if line.strip()]


def _no_text(path: Path) -> InvalidInputError:
    return InvalidInputError(f"{path} is no text in UTF-8", remedy=_REMEDY)
