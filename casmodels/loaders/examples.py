"""Batches to try a model with, where nobody has given data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from casmodels.errors import NotLoadableError

_SENTENCES: Final = (
    "The ferry to the island leaves at half past six from the northern pier.",
    "She measured the bridge twice before she drew it.",
    "Rain is expected over the hills tonight, and fog in the valleys until the late morning.",
    "Nobody had read the letter.",
    "The orchard gave more apples than the village could carry, so the children were sent for baskets.",
    "A small engine hummed somewhere behind the wall, and then it stopped.",
    "Prices for copper rose for the third week in a row.",
    "He learned to bake bread from a book that had lost its cover.",
)
_FREE: Final = 16
"""What stands for a dimension that a model leaves open, such as the length of a text."""


def sentences(items: int) -> list[str]:
    """So many sentences of different lengths."""
    return [_SENTENCES[number % len(_SENTENCES)] for number in range(items)]


def zeros(inputs: Mapping[str, tuple[Sequence[object], str | None]], items: int) -> Any:
    """Zeros for the inputs that a model declares, each with a shape and the name of a type: a batch of so many items.

    The first dimension is the batch's; others that are no number are left open. One input is an array, several are a
    dict. Raises NotLoadableError where the model takes batches of another size, or things that are no numbers.
    """
    import numpy as np

    made = {}
    for name, (shape, dtype) in inputs.items():
        if not shape or dtype is None:
            raise NotLoadableError(f"zeros cannot be made for the input {name!r}", remedy="give data of your own")
        if isinstance(shape[0], int) and shape[0] != items:
            raise NotLoadableError(
                f"the model takes {shape[0]} items at a time, not {items}", remedy=f"use batches of {shape[0]}"
            )
        made[name] = np.zeros((items, *(size if isinstance(size, int) else _FREE for size in shape[1:])), dtype)
    return next(iter(made.values())) if len(made) == 1 else made
