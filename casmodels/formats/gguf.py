"""GGUF, versions 2 and 3: metadata, the tensors' descriptions, then the tensors, all little-endian.

Written against https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; the sizes of the types' blocks are those of
ggml-common.h. Files of version 1 and big-endian ones (whose version reads as a huge number) stay opaque.
"""

from __future__ import annotations

import math
from typing import Final

from casmodels.formats.cursor import Cursor
from casmodels.formats.layout import MAX_TENSORS, DoubtError, checked, similarity_key
from casstore.chunkers.spans import OPAQUE_WIDTH, RandomAccess, Span

MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_MAX_PAIRS: Final = 100_000
_MAX_NAME_BYTES: Final = 1 << 16
_MAX_DIMENSIONS: Final = 4
_MAX_DEPTH: Final = 8
_ALIGNMENT_KEY: Final = b"general.alignment"
_DEFAULT_ALIGNMENT: Final = 32
_MAX_ALIGNMENT: Final = 1 << 20

# The types of metadata values, by their numbers.
_VALUE_BYTES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32: Final = 4
_STRING: Final = 8
_ARRAY: Final = 9

_PLAIN_BYTES: Final = {0: 4, 1: 2, 24: 1, 25: 2, 26: 4, 27: 8, 28: 8, 30: 2}
"""The width of F32, F16, I8, I16, I32, I64, F64 and BF16, by the type's number in ggml.h."""

_BLOCKS: Final = {
    2: (32, 18),  # Q4_0
    3: (32, 20),  # Q4_1
    6: (32, 22),  # Q5_0
    7: (32, 24),  # Q5_1
    8: (32, 34),  # Q8_0
    10: (256, 84),  # Q2_K
    11: (256, 110),  # Q3_K
    12: (256, 144),  # Q4_K
    13: (256, 176),  # Q5_K
    14: (256, 210),  # Q6_K
    15: (256, 292),  # Q8_K
    16: (256, 66),  # IQ2_XXS
    17: (256, 74),  # IQ2_XS
    18: (256, 98),  # IQ3_XXS
    19: (256, 50),  # IQ1_S
    20: (32, 18),  # IQ4_NL
    21: (256, 110),  # IQ3_S
    22: (256, 82),  # IQ2_S
    23: (256, 136),  # IQ4_XS
    29: (256, 56),  # IQ1_M
    31: (32, 18),  # Q4_0 in groups of 4x4, then of 4x8 and 8x8
    32: (32, 18),
    33: (32, 18),
    34: (256, 54),  # TQ1_0
    35: (256, 66),  # TQ2_0
    39: (32, 17),  # MXFP4
    40: (64, 36),  # NVFP4
    41: (128, 18),  # Q1_0
}
"""Elements and bytes of a quantisation block. Q8_1 is left out: it is in no file, and sources differ on its size."""


def gguf_spans(source: RandomAccess) -> list[Span]:
    """The tensors of a GGUF file; raises DoubtError for a wrong header.

    A tensor of a type that is not known has no span, since its length is not known either.
    """
    cursor = Cursor(source)
    cursor.skip(len(MAGIC))
    if cursor.u32() not in _VERSIONS:
        raise DoubtError("a version of GGUF that is not known")
    tensors, pairs = cursor.u64(), cursor.u64()
    if tensors > MAX_TENSORS or pairs > _MAX_PAIRS:
        raise DoubtError("too many tensors, or too much metadata")
    alignment = _alignment(cursor, pairs)
    names: set[bytes] = set()
    found = []
    for _ in range(tensors):
        name = _text(cursor)
        if name in names:
            raise DoubtError("a tensor is named twice")
        names.add(name)
        shape, number, offset = _shape(cursor), cursor.u32(), cursor.u64()
        if offset % alignment:
            raise DoubtError("a tensor that begins where none may")
        width = _PLAIN_BYTES.get(number, OPAQUE_WIDTH)
        elements, block_bytes = (1, width) if width else _BLOCKS.get(number, (0, 0))
        if elements and (length := _length_bytes(shape, elements, block_bytes)):
            key = similarity_key(name.decode("utf-8", "surrogateescape"), shape)
            found.append(Span(offset, length, width, block_bytes, key))
    start = -(-cursor.position // alignment) * alignment
    moved = (Span(start + span.offset, span.length, span.item_width, span.block_bytes, span.key) for span in found)
    return checked(moved, source.size_bytes)


def _alignment(cursor: Cursor, pairs: int) -> int:
    """Pass over the metadata; what it says about where tensors begin."""
    alignment = 0
    for _ in range(pairs):
        key, kind = _text(cursor), cursor.u32()
        if key != _ALIGNMENT_KEY:
            _skip_value(cursor, kind)
            continue
        if alignment or kind != _UINT32:
            raise DoubtError("an alignment that is given twice, or is no number")
        alignment = cursor.u32()
        if not 0 < alignment <= _MAX_ALIGNMENT or alignment % 8:
            raise DoubtError("an alignment that cannot be")
    return alignment or _DEFAULT_ALIGNMENT


def _text(cursor: Cursor) -> bytes:
    length = cursor.u64()
    if length > _MAX_NAME_BYTES:
        raise DoubtError("a name that is too long")
    return cursor.take(length)


def _skip_value(cursor: Cursor, kind: int, depth: int = 0) -> None:
    if kind == _STRING:
        cursor.skip(cursor.u64())
    elif kind == _ARRAY:
        inner, count = cursor.u32(), cursor.u64()
        if inner in _VALUE_BYTES:
            cursor.skip(count * _VALUE_BYTES[inner])
        elif depth == _MAX_DEPTH:
            raise DoubtError("arrays in arrays")
        elif inner == _STRING:
            for _ in range(count):
                cursor.skip(cursor.u64())
        else:
            for _ in range(count):
                _skip_value(cursor, inner, depth + 1)
    elif kind in _VALUE_BYTES:
        cursor.skip(_VALUE_BYTES[kind])
    else:
        raise DoubtError("metadata of a type that is not known")


def _shape(cursor: Cursor) -> tuple[int, ...]:
    """Slowest dimension first, as in other formats; GGUF has the fastest first."""
    count = cursor.u32()
    if count > _MAX_DIMENSIONS:
        raise DoubtError("a tensor of too many dimensions")
    return tuple(reversed([cursor.u64() for _ in range(count)]))


def _length_bytes(shape: tuple[int, ...], elements: int, block_bytes: int) -> int:
    """The bytes of a tensor of that many elements to a block; every row is made of whole blocks."""
    if (shape[-1] if shape else 1) % elements:
        raise DoubtError("a row that ends within a block")
    return math.prod(shape) // elements * block_bytes
