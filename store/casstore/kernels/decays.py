"""What weight decay makes of a weight that is not trained otherwise.

Such a weight is multiplied by the same factor, just under 1, in every step, and rounded. In float32 that takes a number
of units in the last place off it that depends on its mantissa alone. FORMAT.md, "Codecs", defines the prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from casstore.kernels.compiled import DELTAS
from casstore.kernels.words import Words

MANTISSA_BITS: Final = 23
MANTISSA_MASK: Final = (1 << MANTISSA_BITS) - 1

_INDEX_BITS: Final = 11  # of a mantissa left out to find the piece from where a search need not go far
_SEGMENT_WORDS: Final = 1 << 16  # see differences


@dataclass(frozen=True, slots=True)
class Decay:
    """Pieces of a function of the mantissa: from each of ``starts`` on, ``less`` units in the last place are taken off,
    and ``slopes`` / 2^32 for each unit beyond the start.
    """

    starts: NDArray[np.uint32]
    less: NDArray[np.int32]
    slopes: NDArray[np.int32]


def apply_decay(decay: Decay, words: Words, decayed: Words) -> None:
    """Fill ``decayed`` with what the float32 ``words`` become; zero, subnormals, infinities and NaNs stay."""
    kernel = DELTAS.find("decay")
    if kernel is None:
        for start in range(0, words.size, _SEGMENT_WORDS):
            part = slice(start, start + _SEGMENT_WORDS)
            decayed[part] = _decayed(decay, words[part])
        return
    mantissas = np.arange(1 << MANTISSA_BITS - _INDEX_BITS, dtype=np.uint32) << np.uint32(_INDEX_BITS)
    first = np.searchsorted(decay.starts, mantissas, side="right") - 1
    starts = np.append(decay.starts, np.uint32(1 << MANTISSA_BITS))
    is_flat = not decay.slopes.any()
    kernel(words, first.astype(np.uint16), starts, decay.less.view(np.uint32), decay.slopes, is_flat, decayed)


def near(
    words: Words, base: Words, low: NDArray[np.int64], high: NDArray[np.int64], wanted: NDArray[np.bool_], run: int
) -> NDArray[np.int64]:
    """What the base's words lost that lost about as much as expected, as keys to sort: mantissa · 2^32 + loss + 2^31.

    A loss in units in the last place counts if it lies between ``low`` and ``high`` of the mantissa's bucket, that
    bucket is ``wanted``, and so do (wanted or not) more than half of the losses in the ``run`` of words that it is in;
    the words are whole runs. Buckets are equal parts of the mantissas, as many as ``low`` has items.
    """
    bucket_bits = MANTISSA_BITS - (low.size.bit_length() - 1)
    kernel = DELTAS.find("near")
    if kernel is not None:
        keys = np.empty(words.size, np.int64)
        return keys[: kernel(words, base, low, high, wanted.view(np.uint8), run, bucket_bits, keys)]
    mantissas = base & np.uint32(MANTISSA_MASK)
    buckets = mantissas >> np.uint32(bucket_bits)
    losses = base.view(np.int32).astype(np.int64) - words.view(np.int32)
    is_near = (losses >= low[buckets]) & (losses <= high[buckets]) & _is_normal(base)
    kept = np.repeat(is_near.reshape(-1, run).sum(axis=1) * 2 > run, run) & is_near & wanted[buckets]
    found: NDArray[np.int64] = mantissas[kept].astype(np.int64) << 32 | (losses[kept] + (1 << 31))
    return found


def _is_normal(words: Words) -> NDArray[np.bool_]:
    exponents = words >> np.uint32(MANTISSA_BITS) & np.uint32(255)
    return (exponents > 0) & (exponents < 255)


def _decayed(decay: Decay, words: Words) -> Words:
    mantissas = words & np.uint32(MANTISSA_MASK)
    piece = np.searchsorted(decay.starts, mantissas, side="right") - 1
    beyond = (mantissas - decay.starts[piece]).astype(np.int64) * decay.slopes[piece] >> 32
    less = decay.less.view(np.uint32)[piece] + beyond.astype(np.uint32)
    less[~_is_normal(words)] = 0
    return words - less


def _decay_loop(
    words: Words, first: NDArray[np.uint16], starts: NDArray[np.uint32], less: NDArray[np.uint32],
    slopes: NDArray[np.int32], is_flat: int, decayed: Words,
) -> None:  # fmt: skip
    for i in range(words.size):
        word = words[i]
        mantissa = word & np.uint32(MANTISSA_MASK)
        piece = np.uintp(first[np.uintp(mantissa >> np.uint32(_INDEX_BITS))])
        while starts[piece + np.uintp(1)] <= mantissa:
            piece += np.uintp(1)
        exponent = (word >> np.uint32(MANTISSA_BITS)) & np.uint32(255)
        is_normal = np.uint32(exponent - np.uint32(1)) < np.uint32(254)
        off = less[piece]
        if not is_flat:
            off += np.uint32((np.int64(mantissa - starts[piece]) * np.int64(slopes[piece])) >> 32)
        decayed[i] = word - (off if is_normal else np.uint32(0))


def _near_loop(
    words: Words, base: Words, low: NDArray[np.int64], high: NDArray[np.int64], wanted: NDArray[np.uint8], run: int,
    bucket_bits: int, keys: NDArray[np.int64],
) -> Any:  # fmt: skip
    count = 0
    for number in range(words.size // run):
        start = number * run
        before, alike = count, 0
        for i in range(start, start + run):
            exponent = (base[i] >> np.uint32(MANTISSA_BITS)) & np.uint32(255)
            mantissa = base[i] & np.uint32(MANTISSA_MASK)
            bucket = np.uintp(mantissa >> np.uint32(bucket_bits))
            loss = np.int64(np.int32(base[i])) - np.int64(np.int32(words[i]))
            if low[bucket] <= loss <= high[bucket] and 0 < exponent < 255:
                alike += 1
                keys[count] = np.int64(mantissa) << 32 | (loss + (1 << 31))
                count += wanted[bucket]
        if alike * 2 <= run:
            count = before
    return count


DELTAS.add(
    "decay", _decay_loop, "const uint32[]", "const uint16[]", "const uint32[]", "const uint32[]", "const int32[]",
    "int64", "uint32[]",
)  # fmt: skip
DELTAS.add(
    "near", _near_loop, "const uint32[]", "const uint32[]", "const int64[]", "const int64[]", "const uint8[]", "int64",
    "int64", "int64[]", result="int64",
)  # fmt: skip
