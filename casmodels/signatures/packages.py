"""The packages of the extra ``signing``."""

from __future__ import annotations

from typing import Any

from casmodels.extras import library


def package(name: str) -> Any:
    """The module. Raises MissingExtraError when it is not installed, or what it needs is not; BrokenLoaderError when
    it cannot be imported."""
    return library(name, "signing")
