"""From the store to a running model: which loader fits a version, and the handle to what it loads."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casmodels.loaders.handle import LoadedModel
    from casmodels.loaders.loader import Loaded, Loader, Request
    from casmodels.loaders.loading import load_model
    from casmodels.loaders.stored_model import StoredModel

__all__ = ["Loaded", "LoadedModel", "Loader", "Request", "StoredModel", "load_model"]

_HOMES = {
    "Loaded": "loader",
    "LoadedModel": "handle",
    "Loader": "loader",
    "Request": "loader",
    "StoredModel": "stored_model",
    "load_model": "loading",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
