"""Models in fewer bits: quantised, compared with what they were made from, and saved as versions of their own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casmodels.quantising.quantise import QuantisedModel, quantize_model

__all__ = ["QuantisedModel", "quantize_model"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.quantise"), name)
