"""The packages of the extra ``signing``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from casmodels.errors import MissingExtraError


def package(name: str) -> Any:
    """The module. Raises MissingExtraError when it is not installed, or what it needs is not."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError("signing") from error
