"""Numbers of every type as 64-bit floats, so that they can be compared."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from casmodels.library.arrays import NUMPY_TYPES

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COMPLEX: Final = ("C64", "C128")
_PLAIN: Final = {name: code for name, code in NUMPY_TYPES.items() if name not in _COMPLEX} | {"BOOL": "u1"}
"""Booleans as their bytes: NumPy's would be 0 or 1 whatever lies there."""
_SHORT: Final = {
    "F8_E4M3": (3, 7, (0x7F, 0xFF)),
    "F8_E4M3FNUZ": (3, 8, (0x80,)),
    "F8_E5M2FNUZ": (2, 16, (0x80,)),
}
"""Floats of 8 bits: bits of the mantissa, bias of the exponent, the codes that are no numbers."""


def is_widened(dtype: str) -> bool:
    """Whether `widened` knows the type, by its name in safetensors."""
    return dtype in _PLAIN or dtype in _COMPLEX or dtype in _SHORT or dtype in ("BF16", "F8_E5M2", "F8_E8M0")


def widened(numbers: bytes, dtype: str) -> NDArray[Any]:
    """The numbers as 64-bit floats, complex ones as two each; exact but for whole numbers beyond 2**53."""
    if dtype in _COMPLEX:
        return np.frombuffer(numbers, NUMPY_TYPES[dtype]).astype(np.complex128)
    if dtype == "BF16":
        words = np.frombuffer(numbers, "<u2").astype(np.uint32)
        return (words << np.uint32(16)).view(np.float32).astype(np.float64)
    if dtype in _PLAIN:
        return np.frombuffer(numbers, _PLAIN[dtype]).astype(np.float64)
    return _table(dtype)[np.frombuffer(numbers, np.uint8)]


@cache
def _table(dtype: str) -> NDArray[np.float64]:
    """The values of the 256 codes of a float of 8 bits (Open Compute Project, "OCP 8-bit Floating Point", 2023)."""
    codes = np.arange(256)
    if dtype == "F8_E5M2":  # the upper half of an fp16
        return (codes << 8).astype(np.uint16).view(np.float16).astype(np.float64)
    if dtype == "F8_E8M0":
        return np.where(codes == 255, np.nan, np.exp2(codes - 127.0))
    mantissa_bits, bias, no_numbers = _SHORT[dtype]
    exponents, mantissas = (codes & 0x7F) >> mantissa_bits, codes & (1 << mantissa_bits) - 1
    steps = np.exp2(np.maximum(exponents, 1) - float(bias + mantissa_bits))
    values = steps * np.where(exponents > 0, mantissas + (1 << mantissa_bits), mantissas)
    values = np.where(codes & 0x80, -values, values)
    values[list(no_numbers)] = np.nan
    return np.asarray(values, np.float64)
