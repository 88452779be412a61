"""``.npy``: a magic string, a header that is a Python literal, one array.

Written against https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. The header is matched by the one
form in which it is written; nothing is evaluated.
"""

from __future__ import annotations

import math
import re
from typing import Final

from casmodels.formats.layout import (
    BYTE,
    COMPLEX_64,
    COMPLEX_128,
    EIGHT_BYTES,
    FOUR_BYTES,
    MAX_DIMENSIONS,
    TWO_BYTES,
    DoubtError,
    checked,
    strided_key,
)
from casstore.chunkers.spans import RandomAccess, Span

MAGIC: Final = b"\x93NUMPY"
_LENGTH_BYTES: Final = {1: 2, 2: 4, 3: 4}
"""How the header's length is written in each version of the format."""
_MAX_HEADER_BYTES: Final = 64 << 10

_HEADER: Final = re.compile(
    rb"\{ *'descr': *'([<>=|]?)([?a-zA-Z])(\d*)', *'fortran_order': *(True|False), *"
    rb"'shape': *\(((?:\d{1,19}, *)*+(?:\d{1,19})?),? *\),? *\}[ \n]*"
)
_TYPES: Final = {
    **dict.fromkeys((b"b1", b"i1", b"u1", b"?", b"V1"), BYTE),
    **dict.fromkeys((b"i2", b"u2", b"f2", b"V2"), TWO_BYTES),
    **dict.fromkeys((b"i4", b"u4", b"f4"), FOUR_BYTES),
    **dict.fromkeys((b"i8", b"u8", b"f8"), EIGHT_BYTES),
    b"c8": COMPLEX_64,
    b"c16": COMPLEX_128,
}
"""V1 and V2 are how NumPy writes types that it has not: the 8-bit floats, and bfloat16."""


def npy_spans(name: str, source: RandomAccess) -> list[Span]:
    """The array of a ``.npy`` file, which has no name of its own and is given one.

    Raises DoubtError for a wrong header. An array of records or of objects has no span.
    """
    prefix = source.read_at(len(MAGIC), 6)
    length_bytes = _LENGTH_BYTES.get(prefix[0]) if len(prefix) == 6 else None
    if length_bytes is None:
        raise DoubtError("a version of .npy that is not known")
    header_bytes = int.from_bytes(prefix[2 : 2 + length_bytes], "little")
    start = len(MAGIC) + 2 + length_bytes
    if header_bytes > _MAX_HEADER_BYTES:
        raise DoubtError("a header that is too long")
    header = source.read_at(start, header_bytes)
    match = _HEADER.fullmatch(header)
    kind = _TYPES.get(match[2] + match[3]) if match is not None else None
    if match is None or kind is None or len(header) != header_bytes:
        raise DoubtError("an array of another type than numbers")
    shape = [int(size) for size in match[5].split(b",") if size.strip()]
    if len(shape) > MAX_DIMENSIONS:
        raise DoubtError("an array of too many dimensions")
    length = kind.length_bytes(shape)
    if not length:
        return []
    key = b""
    if match[1] != b">":
        key = strided_key(name, shape, _stride(shape, first_fastest=match[4] == b"True"))
    span = Span(start + header_bytes, length, kind.item_width, kind.block_bytes, key)
    return checked([span], source.size_bytes)


def _stride(shape: list[int], *, first_fastest: bool) -> tuple[int, ...]:
    axes = range(len(shape))
    return tuple(math.prod(shape[:axis] if first_fastest else shape[axis + 1 :]) for axis in axes)
