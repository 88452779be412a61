"""Words, as which the bytes of numbers are worked on, and what is made of them."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Plane: TypeAlias = NDArray[np.uint8]
Words: TypeAlias = NDArray[Any]

WORD_TYPES: Final[dict[int, np.dtype[Any]]] = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}
"""The widths in bytes of words, and their types."""

SIGNED_TYPES: Final[dict[int, np.dtype[Any]]] = {width: np.dtype(f"<i{width}") for width in WORD_TYPES}
"""The same for words as signed numbers."""


def aligned(words: Words) -> Words:
    """The words at an address that compiled loops can take: a copy, if they lie elsewhere."""
    return words if words.flags.aligned else words.copy()
