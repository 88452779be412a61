"""Chunks stored against a base: which codec, and the way back. FORMAT.md, "Codecs", gives the bytes."""

from __future__ import annotations

import numpy as np

from casstore.buffers import Buffer
from casstore.casts import Cast, apply_cast, source_width, target_width
from casstore.codecs import cast as cast_codec
from casstore.codecs import delta
from casstore.codecs.ids import Codec
from casstore.errors import DamagedError
from casstore.kernels import WORD_TYPES, Words


def encode(raw: Buffer, width: int, base: Buffer, cast: int) -> tuple[Codec, Buffer]:
    """The codec and what it stores for words of ``width`` bytes, given the base's bytes.

    ``base`` has as many words, of the cast's source type or without a cast of ``width`` bytes. The payload may be longer
    than ``raw``.
    """
    words: Words = np.frombuffer(raw, WORD_TYPES[width])
    expected = _expected(base, width, Cast(cast))
    exceptions = cast_codec.encode(words, expected)
    codec, payload = (Codec.CAST, exceptions) if exceptions is not None else (Codec.DELTA, delta.encode(words, expected))
    return codec, bytes([width]) + payload


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
    if width not in WORD_TYPES or (kind and target_width(kind) != width) or len(base) * width != raw_length * base_width:
        raise DamagedError("a delta", "its base does not have its words")
    expected = _expected(base, width, kind)
    if codec == Codec.CAST:
        return cast_codec.decode(view[1:], expected)
    if codec == Codec.DELTA:
        return delta.decode(view[1:], expected)
    raise DamagedError("a frame", f"no codec with the id {codec} takes a base")


def _expected(base: Buffer, width: int, cast: Cast) -> Words:
    return apply_cast(cast, base) if cast else np.frombuffer(base, WORD_TYPES[width])
