"""A content-addressed store for machine-learning models.

The public names are imported when they are first asked for, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from casmodels.release import __version__

if TYPE_CHECKING:
    from casmodels.integrity import verify_model_integrity
    from casmodels.library import PullOptions, Store
    from casmodels.loaders import LoadedModel, load_model
    from casmodels.manager import DownloadResult, ModelDownloader, ModelManager
    from casmodels.performance.metrics import ModelMetrics
    from casmodels.quantising import QuantisedModel, quantize_model
    from casmodels.registry import Registry
    from casmodels.specs import ModelSpec, ModelType
    from casstore.errors import StoreError

__all__ = [
    "DownloadResult",
    "LoadedModel",
    "ModelDownloader",
    "ModelManager",
    "ModelMetrics",
    "ModelSpec",
    "ModelType",
    "PullOptions",
    "QuantisedModel",
    "Registry",
    "Store",
    "StoreError",
    "__version__",
    "load_model",
    "quantize_model",
    "verify_model_integrity",
]

_HOMES = {
    "DownloadResult": "casmodels.manager.results",
    "LoadedModel": "casmodels.loaders",
    "ModelDownloader": "casmodels.manager.downloader",
    "ModelManager": "casmodels.manager.model_manager",
    "ModelMetrics": "casmodels.performance.metrics",
    "ModelSpec": "casmodels.specs",
    "ModelType": "casmodels.specs",
    "PullOptions": "casmodels.library.options",
    "QuantisedModel": "casmodels.quantising",
    "Registry": "casmodels.registry",
    "Store": "casmodels.library",
    "StoreError": "casstore.errors",
    "load_model": "casmodels.loaders",
    "quantize_model": "casmodels.quantising",
    "verify_model_integrity": "casmodels.integrity",
}


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
