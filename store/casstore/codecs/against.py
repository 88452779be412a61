"""Chunks stored against a base: which codec, and the way back. FORMAT.md, "Codecs", gives the bytes."""

from __future__ import annotations

from typing import Final

import numpy as np

from casstore.buffers import Buffer
from casstore.casts import Cast, apply_cast, source_width, target_width
from casstore.codecs import cast as cast_codec
from casstore.codecs import delta
from casstore.codecs.ids import Codec
from casstore.errors import DamagedError
from casstore.kernels import WORD_TYPES, Words

_EXPONENT_SHIFTS: Final = {2: 7, 3: 10}
"""How far a 16-bit word's exponent lies from its low end, by the cast's target type."""


def encode(
    raw: Buffer, width: int, base: Buffer, cast: int, *, must_be_exact: bool = False
) -> tuple[Codec, Buffer] | None:
    """The codec and what it stores for words of ``width`` bytes, given the base's bytes.

    ``base`` has as many words, of the cast's source type or without a cast of ``width`` bytes. The payload may be
    longer than ``raw``. With ``must_be_exact``, None unless ``raw`` is the cast of ``base``.
    """
    words: Words = np.frombuffer(raw, WORD_TYPES[width])
    expected = _expected(base, width, Cast(cast))
    exceptions = cast_codec.encode(words, expected)
    if exceptions is not None:
        return Codec.CAST, bytes([width]) + exceptions
    if must_be_exact:
        return None
    return Codec.DELTA, bytes([width]) + delta.encode(words, expected, _EXPONENT_SHIFTS.get(cast & 15))


def decode(codec: int, stored: Buffer, raw_length: int, base: Buffer, cast: int) -> Buffer:
    """Exactly ``raw_length`` bytes in memory of their own, or DamagedError.

    Whether they are the right bytes is for the caller to check by their digest.
    """
    view = memoryview(stored)
    width = view[0] if view else 0
    try:
        kind = Cast(cast)
    except ValueError as error:
        raise DamagedError("a delta", f"no cast has the id {cast}") from error
    base_width = source_width(kind) if kind else width
    fits = width in WORD_TYPES and not raw_length % width and len(base) * width == raw_length * base_width
    if not fits or (kind and target_width(kind) != width):
        raise DamagedError("a delta", "its base does not have its words")
    expected = _expected(base, width, kind)
    if codec == Codec.CAST:
        return cast_codec.decode(view[1:], expected)
    if codec == Codec.DELTA:
        return delta.decode(view[1:], expected)
    raise DamagedError("a frame", f"no codec with the id {codec} takes a base")


def _expected(base: Buffer, width: int, cast: Cast) -> Words:
    return apply_cast(cast, base) if cast else np.frombuffer(base, WORD_TYPES[width])
