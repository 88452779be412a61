"""The cast codec: a chunk that is the cast of its base, but for a few words. FORMAT.md, "Codecs", gives the bytes."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from casstore.buffers import Buffer
from casstore.errors import DamagedError
from casstore.kernels import Words

MAX_EXCEPTIONS: Final = 64
_FIRST_WORDS: Final = 4096
_COUNT: Final = struct.Struct("<B")


def encode(words: Words, expected: Words) -> bytes | None:
    """The words that are other than expected; None where they are too many for this to be a cast."""
    for count in (_FIRST_WORDS, words.size):  # most chunks that are no cast show it at once
        differs = words[:count] != expected[:count]
        if np.count_nonzero(differs) > MAX_EXCEPTIONS:
            return None
    (places,) = np.nonzero(differs)
    return _COUNT.pack(places.size) + places.astype("<u4").tobytes() + words[places].tobytes()


def decode(stored: Buffer, expected: Words) -> Buffer:
    """The bytes of the chunk; DamagedError for a payload that is none."""
    view = memoryview(stored)
    count = _COUNT.unpack_from(view)[0] if view else -1
    if len(view) != _COUNT.size + count * (4 + expected.itemsize) or count > MAX_EXCEPTIONS:
        raise DamagedError("a cast payload", "its exceptions do not add up")
    places = np.frombuffer(view, "<u4", count, _COUNT.size)
    if count and int(places.max()) >= expected.size:
        raise DamagedError("a cast payload", "an exception lies past its end")
    words = expected.copy()
    words[places] = np.frombuffer(view, expected.dtype, count, _COUNT.size + 4 * count)
    return words.view(np.uint8).data
