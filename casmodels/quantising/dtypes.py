"""The types that a model can be quantised to."""

from __future__ import annotations

from typing import Final

from casmodels.errors import NotQuantisableError
from casstore.errors import InvalidInputError

INT8: Final = "int8"
FP8: Final = "fp8"
FP16: Final = "fp16"
BF16: Final = "bf16"
DTYPES: Final = (INT8, FP8, FP16, BF16)
HALVES: Final = {FP16: "float16", BF16: "bfloat16"}
"""What torch calls the types that every number of a model can be of."""


def checked_dtype(dtype: str) -> str:
    """The type, if there is one of that name. Raises InvalidInputError, NotQuantisableError."""
    if dtype == "int4":
        raise NotQuantisableError(
            "a model cannot be quantised to int4 here: torchao's kernels for it need a GPU and a further package",
            remedy=f"use {', '.join(DTYPES)}",
        )
    if dtype not in DTYPES:
        raise InvalidInputError(
            f"there is no type {dtype!r} that a model can be quantised to", remedy=f"use {', '.join(DTYPES)}"
        )
    return dtype
