"""The library behind the command line: one store of models and what can be done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casmodels.library.store import Store

if TYPE_CHECKING:
    from casmodels.library.options import PullOptions

__all__ = ["PullOptions", "Store"]


def __getattr__(name: str) -> object:
    if name == "PullOptions":  # only pulls have them
        from casmodels.library.options import PullOptions

        return PullOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
