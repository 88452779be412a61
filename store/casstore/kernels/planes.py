"""Splitting floats into byte planes, and joining them again.

A word's sign is rotated to its low end, so that the whole exponent lies in the highest plane. Words whose
``low_bytes`` lowest bytes are all zero (a bf16 kept as fp32, say) are rotated within what is above them, so
that those planes stay zero.

NumPy does it at some 5 GB/s, loops compiled by Numba at twice that (ADR 006).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from casstore.kernels.compiled import PLANES, Kernel
from casstore.kernels.words import WORD_TYPES, Plane, Words, aligned

_BLOCK_BYTES: Final = 1 << 20  # shorter blocks cost NumPy more in calls, longer ones more in cache misses


def split(words: Words, planes: Sequence[Plane]) -> None:
    """Fill ``planes``, lowest first, from the words; bytes at the low end that have no plane must be zero.

    Words of one byte are their only plane, unrotated.
    """
    kernel = _kernel("split", words) if planes else None
    if kernel is None:
        split_numpy(words, planes)
        return
    low_bytes = words.itemsize - len(planes)
    unwanted = [np.empty(words.size, np.uint8) for _ in range(low_bytes)]
    kernel(aligned(words), 8 * low_bytes, *unwanted, *planes)


def join(planes: Sequence[Plane], words: Words) -> None:
    """Fill ``words`` from their planes, lowest first; planes missing at the low end are zero."""
    kernel = _kernel("join", words) if planes else None
    if kernel is None:
        join_numpy(planes, words)
        return
    low_bytes = words.itemsize - len(planes)
    zeros = [np.zeros(words.size, np.uint8)] * low_bytes
    joined = words if words.flags.aligned else np.empty(words.size, words.dtype)
    kernel(*zeros, *planes, 8 * low_bytes, joined)
    if joined is not words:
        words[:] = joined


def split_numpy(words: Words, planes: Sequence[Plane]) -> None:
    """What `split` does, in NumPy."""
    if words.itemsize == 1 or not planes:
        for plane in planes:
            plane[:] = words
        return
    word = words.dtype.type
    low, top = 8 * (words.itemsize - len(planes)), 8 * words.itemsize - 1
    for number, plane in enumerate(planes):
        shift = low + 8 * number - 1  # one less than the plane's place makes room for the sign
        # One call shifts and narrows, some KiB at a time: the words come from memory once for each plane.
        if shift < 0:
            np.left_shift(words, word(1), out=plane, casting="unsafe")
        else:
            np.right_shift(words, word(shift), out=plane, casting="unsafe")
    signs = np.empty(words.size, np.uint8)
    np.right_shift(words, word(top), out=signs, casting="unsafe")
    np.bitwise_or(planes[0], signs, out=planes[0])


def join_numpy(planes: Sequence[Plane], words: Words) -> None:
    """What `join` does, in NumPy."""
    if words.itemsize == 1 or not planes:
        words[:] = planes[0] if planes else 0
        return
    word = words.dtype.type
    low, top = 8 * (words.itemsize - len(planes)), 8 * words.itemsize - 1
    block_words = _BLOCK_BYTES // words.itemsize
    length = min(block_words, words.size)
    scratch = {width: np.empty((2, length), WORD_TYPES[width]) for width in (2, 4) if width < words.itemsize}
    widest = np.empty((1, length), words.dtype)
    scratch[words.itemsize] = widest
    for start in range(0, words.size, block_words):
        block = words[start : start + block_words]
        signs = widest[0, : block.size]
        woven = _woven([plane[start : start + block_words] for plane in planes], scratch, block)
        if woven is not block:
            np.copyto(block, woven)
        np.left_shift(block, word(top), out=signs)
        np.right_shift(block, word(1), out=block)
        if low:
            np.left_shift(block, word(low), out=block)
        np.bitwise_or(block, signs, out=block)


def _woven(planes: Sequence[Plane], scratch: Mapping[int, Words], target: Words) -> Words:
    """The planes, lowest first, as words of the width that they need: in ``target`` if that is its width.

    Made from halves of half the width, which are less to go through than whole words. ``scratch`` has a row of words
    for each width, and one more for those that the target has not.
    """
    if len(planes) == 1:
        return planes[0]
    low_planes = 1 << (len(planes) - 1).bit_length() - 1
    widened, *spare = scratch[2 * low_planes][:, : target.size]
    woven = spare[0] if spare else target
    np.copyto(woven, _woven(planes[low_planes:], scratch, target))
    np.left_shift(woven, woven.dtype.type(8 * low_planes), out=woven)
    np.copyto(widened, _woven(planes[:low_planes], scratch, target))  # or'ing halves into words is far slower
    np.bitwise_or(woven, widened, out=woven)
    return woven


def _kernel(action: str, words: Words) -> Kernel | None:
    """The compiled loop for these words, or None where NumPy is to do it."""
    PLANES.note_work(words.nbytes)
    return PLANES.find(f"{action}{words.itemsize}") if words.itemsize > 1 else None


def _split2(words: Words, low: int, a: Plane, b: Plane) -> None:
    shift, one, top = np.uint16(low), np.uint16(1), np.uint16(15)
    for i in range(words.size):
        rotated = (((words[i] >> shift) << one) | (words[i] >> top)) << shift
        a[i] = np.uint8(rotated)
        b[i] = np.uint8(rotated >> np.uint16(8))


def _split4(words: Words, low: int, a: Plane, b: Plane, c: Plane, d: Plane) -> None:
    shift, one, top = np.uint32(low), np.uint32(1), np.uint32(31)
    for i in range(words.size):
        rotated = (((words[i] >> shift) << one) | (words[i] >> top)) << shift
        a[i] = np.uint8(rotated)
        b[i] = np.uint8(rotated >> np.uint32(8))
        c[i] = np.uint8(rotated >> np.uint32(16))
        d[i] = np.uint8(rotated >> np.uint32(24))


def _split8(
    words: Words, low: int, a: Plane, b: Plane, c: Plane, d: Plane, e: Plane, f: Plane, g: Plane, h: Plane
) -> None:
    shift, one, top = np.uint64(low), np.uint64(1), np.uint64(63)
    for i in range(words.size):
        rotated = (((words[i] >> shift) << one) | (words[i] >> top)) << shift
        a[i] = np.uint8(rotated)
        b[i] = np.uint8(rotated >> np.uint64(8))
        c[i] = np.uint8(rotated >> np.uint64(16))
        d[i] = np.uint8(rotated >> np.uint64(24))
        e[i] = np.uint8(rotated >> np.uint64(32))
        f[i] = np.uint8(rotated >> np.uint64(40))
        g[i] = np.uint8(rotated >> np.uint64(48))
        h[i] = np.uint8(rotated >> np.uint64(56))


def _join2(a: Plane, b: Plane, low: int, words: Words) -> None:
    shift, one, top = np.uint16(low), np.uint16(1), np.uint16(15)
    for i in range(words.size):
        rotated = (np.uint16(a[i]) | (np.uint16(b[i]) << np.uint16(8))) >> shift
        words[i] = ((rotated >> one) << shift) | ((rotated & one) << top)


def _join4(a: Plane, b: Plane, c: Plane, d: Plane, low: int, words: Words) -> None:
    shift, one, top = np.uint32(low), np.uint32(1), np.uint32(31)
    for i in range(words.size):
        lower = np.uint32(a[i]) | (np.uint32(b[i]) << np.uint32(8))
        upper = (np.uint32(c[i]) << np.uint32(16)) | (np.uint32(d[i]) << np.uint32(24))
        rotated = (lower | upper) >> shift
        words[i] = ((rotated >> one) << shift) | ((rotated & one) << top)


def _join8(
    a: Plane, b: Plane, c: Plane, d: Plane, e: Plane, f: Plane, g: Plane, h: Plane, low: int, words: Words
) -> None:
    shift, one, top = np.uint64(low), np.uint64(1), np.uint64(63)
    for i in range(words.size):
        first = np.uint64(a[i]) | (np.uint64(b[i]) << np.uint64(8))
        second = (np.uint64(c[i]) << np.uint64(16)) | (np.uint64(d[i]) << np.uint64(24))
        third = (np.uint64(e[i]) << np.uint64(32)) | (np.uint64(f[i]) << np.uint64(40))
        fourth = (np.uint64(g[i]) << np.uint64(48)) | (np.uint64(h[i]) << np.uint64(56))
        rotated = (first | second | third | fourth) >> shift
        words[i] = ((rotated >> one) << shift) | ((rotated & one) << top)


for _width, _split, _join in ((2, _split2, _join2), (4, _split4, _join4), (8, _split8, _join8)):
    _word = f"uint{8 * _width}[]"
    PLANES.add(f"split{_width}", _split, f"const {_word}", "int64", *["uint8[]"] * _width)
    PLANES.add(f"join{_width}", _join, *["const uint8[]"] * _width, "int64", _word)
