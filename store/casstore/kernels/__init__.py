"""The inner loops over words, each in NumPy and as a loop for Numba to compile; both give the same bytes.

Import this package only when there are words to work on.
"""

from casstore.kernels.planes import join, split
from casstore.kernels.words import SIGNED_TYPES, WORD_TYPES, Plane, Words, aligned

__all__ = ["SIGNED_TYPES", "WORD_TYPES", "Plane", "Words", "aligned", "join", "split"]
