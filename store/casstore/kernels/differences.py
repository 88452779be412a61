"""What sets words apart from others that they are expected to be: symbols, and the way back.

FORMAT.md, "Codecs", defines what is computed here. In short: floats are taken as integers that rise with the number;
the difference of two becomes a magnitude and a sign; a symbol tells the sign, the magnitude's bit length and its second
highest bit; the context of a symbol is the expected exponent. Words are looked at in blocks, and what is the same
throughout a block is left out, so that the "coded" words are fewer than all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from casstore.kernels.compiled import DELTAS, Kernel
from casstore.kernels.words import SIGNED_TYPES, WORD_TYPES, Plane, Words

BLOCK_WORDS: Final = 128
CONTEXTS: Final = 512
"""A byte of the expected word, for each of the two states in which a block is coded."""

SAME, QUIET, LOUD = 0, 1, 2
"""States of a block: no word differs, few do by much, or many do."""

_QUIET_PARTS: Final = 10
"""A block is quiet if no more than one in so many of its words differs by much."""

_CELLS: Final = 1024
"""So many symbols are counted at a time, as what is looked up for them is computed faster apart."""

_SEGMENT_WORDS: Final = 1 << 16
"""NumPy takes so many words at a time, for what it makes on the way is many times as large."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Room for what `compare` finds: a state for each block, the rest for each coded word."""

    states: NDArray[np.uint8]
    symbols: NDArray[np.uint8]
    contexts: NDArray[np.uint16]
    magnitudes: Words


def symbol_count(width: int) -> int:
    """How many symbols differences of words of ``width`` bytes can have."""
    return 32 * width - 1


def block_count(words: int) -> int:
    """How many blocks so many words make."""
    return -(-words // BLOCK_WORDS)


def coded_count(states: NDArray[np.uint8], words: int) -> int:
    """How many of the words are coded: those of all blocks that are not the same; the last block may be short."""
    coded = BLOCK_WORDS * int(np.count_nonzero(states))
    return coded - (BLOCK_WORDS * states.size - words) if coded and states[-1] else coded


def compare(words: Words, expected: Words, shift: int, much: int, found: Differences) -> int:
    """Fill ``found``; how many words are coded.

    ``shift`` is where a context begins in a word, in bits; differences of at least ``much`` make a block loud.
    """
    kernel = DELTAS.find(f"compare{words.itemsize}")
    if kernel is None:
        return compare_numpy(words, expected, shift, much, found)
    signed = SIGNED_TYPES[words.itemsize]
    leading = np.empty(BLOCK_WORDS, _FLOATS[words.itemsize][0])
    return int(
        kernel(
            words.view(signed), expected.view(signed), shift, much,
            found.states, found.symbols, found.contexts, found.magnitudes, leading,
        )
    )  # fmt: skip


def count(symbols: NDArray[np.uint8], contexts: NDArray[np.uint16], symbols_count: int) -> NDArray[np.uint32]:
    """How often each symbol comes in each context: a row for each context."""
    counts, half = np.zeros((2, CONTEXTS, symbols_count), np.uint32)
    kernel = DELTAS.find("count")
    if kernel is not None:
        kernel(symbols, contexts, symbols_count, counts.ravel(), half.ravel(), np.empty(_CELLS, np.uint32))
        counts += half
        return counts
    for start in range(0, symbols.size, _SEGMENT_WORDS):
        stop = start + _SEGMENT_WORDS
        cells = contexts[start:stop].astype(np.intp) * symbols_count + symbols[start:stop]
        counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape).astype(np.uint32)
    return counts


def select(expected: Words, shift: int, states: NDArray[np.uint8], of_context: Plane, chosen: Plane) -> None:
    """Fill ``chosen`` with what ``of_context`` says for the context of each coded word."""
    kernel = DELTAS.find(f"select{expected.itemsize}")
    if kernel is not None:
        kernel(expected.view(SIGNED_TYPES[expected.itemsize]), shift, states, of_context, chosen)
        return
    position = 0
    for part, spread in _segments(expected.size, states):
        contexts = _contexts(expected[part], shift, spread)
        chosen[position : position + contexts.size] = of_context[contexts]
        position += contexts.size


def restore(
    expected: Words, states: NDArray[np.uint8], symbols: NDArray[np.uint8], magnitudes: Words, words: Words
) -> None:
    """Fill ``words`` with those that differ so from the expected ones."""
    kernel = DELTAS.find(f"restore{words.itemsize}")
    if kernel is not None:
        signed = SIGNED_TYPES[words.itemsize]
        kernel(expected.view(signed), states, symbols, magnitudes, words.view(signed))
        return
    position = 0
    for part, spread in _segments(expected.size, states):
        coded = spread > SAME
        stop = position + int(np.count_nonzero(coded))
        difference = magnitudes[position:stop].copy()
        np.negative(difference, out=difference, where=_is_negative(symbols[position:stop]))
        words[part] = expected[part]
        words[part][coded] = _ordered(_ordered(expected[part][coded]) + difference)
        position = stop


def compare_numpy(words: Words, expected: Words, shift: int, much: int, found: Differences) -> int:
    """What `compare` does, in NumPy."""
    position = 0
    for start in range(0, words.size, _SEGMENT_WORDS):
        part = slice(start, start + _SEGMENT_WORDS)
        differences = (_ordered(words[part]) - _ordered(expected[part])).view(SIGNED_TYPES[words.itemsize])
        magnitudes = np.abs(differences).view(words.dtype)
        states = found.states[start // BLOCK_WORDS : block_count(start + differences.size)]
        states[:] = _states(magnitudes, much)
        spread = np.repeat(states, BLOCK_WORDS)[: differences.size]
        coded = spread > SAME
        stop = position + int(np.count_nonzero(coded))
        found.magnitudes[position:stop] = magnitudes[coded]
        found.symbols[position:stop] = _symbols(magnitudes[coded], differences[coded] < 0)
        found.contexts[position:stop] = _contexts(expected[part], shift, spread)
        position = stop
    return position


def _ordered(words: Words) -> Words:
    """Words that, taken as signed integers, rise with the number; doing it again gives the words back."""
    signed: Words = words.view(SIGNED_TYPES[words.itemsize])
    top = 8 * words.itemsize - 1
    ordered: Words = signed ^ ((signed >> signed.dtype.type(top)) & signed.dtype.type((1 << top) - 1))
    return ordered.view(words.dtype)


def _states(magnitudes: Words, much: int) -> NDArray[np.uint8]:
    starts = np.arange(0, magnitudes.size, BLOCK_WORDS)
    different = np.add.reduceat((magnitudes > 0).view(np.uint8), starts, dtype=np.int64)
    loud = np.add.reduceat((magnitudes >= much).view(np.uint8), starts, dtype=np.int64)
    lengths = np.diff(starts, append=magnitudes.size)
    return np.where(different == 0, SAME, np.where(loud * _QUIET_PARTS <= lengths, QUIET, LOUD)).astype(np.uint8)


def _symbols(magnitudes: Words, negative: NDArray[np.bool_]) -> NDArray[np.uint8]:
    floats, integers, below, two = _FLOATS[magnitudes.itemsize]
    # The float's exponent is the bit length. Without the third highest bit, it is never rounded up to the next.
    leading = magnitudes & ~(magnitudes >> magnitudes.dtype.type(2))
    coarse = leading.astype(floats).view(integers) >> below
    return (np.where(magnitudes < 2, magnitudes.astype(integers), (coarse - two) * 2 + 3) + negative).astype(np.uint8)


def _is_negative(symbols: NDArray[np.uint8]) -> NDArray[np.bool_]:
    negative: NDArray[np.bool_] = (symbols > 0) & (symbols & 1 == 0)
    return negative


def _contexts(expected: Words, shift: int, spread: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Of the coded words among these; ``spread`` is the state of each one's block."""
    coded = spread > SAME
    word = expected.dtype.type
    low = expected[coded] & word((1 << 8 * expected.itemsize - 1) - 1)
    contexts: NDArray[np.uint16] = (low >> word(shift) & word(255)).astype(np.uint16)
    contexts |= (spread[coded].astype(np.uint16) - np.uint16(1)) << np.uint16(8)
    return contexts


def _segments(words: int, states: NDArray[np.uint8]) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Parts of the words, and the state of each word in them."""
    for start in range(0, words, _SEGMENT_WORDS):
        stop = min(start + _SEGMENT_WORDS, words)
        blocks = states[start // BLOCK_WORDS : block_count(stop)]
        yield slice(start, stop), np.repeat(blocks, BLOCK_WORDS)[: stop - start]


_FLOATS: Final[dict[int, tuple[Any, Any, int, int]]] = {
    width: (np.float64, np.int64, 51, 2048) if width == 8 else (np.float32, np.int32, 22, 256) for width in WORD_TYPES
}
"""For each width: floats whose exponent tells a magnitude's bit length, integers of their size, how many bits of their
mantissa to leave out so that one stays, and what then is left of 2.0.
"""


def _compare_loop(width: int) -> Kernel:
    signed, word = SIGNED_TYPES[width].type, WORD_TYPES[width].type
    wide = np.uint64 if width == 8 else np.uint32
    floats, integers, below, two = _FLOATS[width]
    top = 8 * width - 1
    rest = signed((1 << top) - 1)
    none, two_bits = word(0), word(2)

    def compare(
        words: Words, expected: Words, shift: int, much: int,
        states: Plane, symbols: Plane, contexts: NDArray[np.uint16], magnitudes: Words, leading: Words,
    ) -> Any:  # fmt: skip
        coarse = leading.view(integers)
        position = 0
        for block in range(states.size):
            start = block * BLOCK_WORDS
            size = min(BLOCK_WORDS, words.size - start)
            ours, theirs = words[start : start + size], expected[start : start + size]
            different = none  # counted in words: wider numbers would make the loop as much slower
            for i in range(size):
                different = word(different | word(ours[i] ^ theirs[i]))
            if different == none:
                states[block] = SAME
                continue
            symbol, magnitude = symbols[position : position + size], magnitudes[position : position + size]
            loud = none
            for i in range(size):
                x, y = ours[i], theirs[i]
                ahead = signed(word(x ^ ((x >> top) & rest)) - word(y ^ ((y >> top) & rest)))  # unsigned: it wraps
                size_of = word(none - word(ahead)) if ahead < 0 else word(ahead)
                magnitude[i] = size_of
                leading[i] = floats(wide(size_of & ~(size_of >> two_bits)))
                loud = word(loud + word(size_of >= word(much)))
            state = QUIET if np.int64(loud) * _QUIET_PARTS <= size else LOUD
            states[block] = state
            base = np.uint16((state - 1) << 8)
            context = contexts[position : position + size]
            for i in range(size):
                x, y = ours[i], theirs[i]
                negative = signed(word(x ^ ((x >> top) & rest)) - word(y ^ ((y >> top) & rest))) < 0
                value = (integers(coarse[i] >> below) - two) * 2 + 3
                low = wide(magnitude[i])
                symbol[i] = np.uint8((integers(low) if low < wide(2) else value) + negative)
                context[i] = base | np.uint16(np.uint8((y & rest) >> shift))
            position += size
        return position

    return compare


def _count_loop(
    symbols: Plane, contexts: NDArray[np.uint16], symbols_count: int, even: NDArray[np.uint32],
    odd: NDArray[np.uint32], cells: NDArray[np.uint32],
) -> None:  # fmt: skip
    # Two histograms: the same cell is seldom raised twice in a row, which would have to wait.
    row, one, after_one = np.uint32(symbols_count), np.uint32(1), np.uintp(1)
    for start in range(0, symbols.size, _CELLS):
        symbol, context = symbols[start : start + _CELLS], contexts[start : start + _CELLS]
        for i in range(symbol.size):
            cells[i] = np.uint32(context[i]) * row + np.uint32(symbol[i])
        place, stop = np.uintp(0), np.uintp(symbol.size)
        while place + after_one < stop:
            even[np.uintp(cells[place])] += one
            odd[np.uintp(cells[place + after_one])] += one
            place += np.uintp(2)
        if place < stop:
            even[np.uintp(cells[place])] += one


def _select_loop(width: int) -> Kernel:
    rest = SIGNED_TYPES[width].type((1 << 8 * width - 1) - 1)

    def select(expected: Words, shift: int, states: Plane, of_context: Plane, chosen: Plane) -> None:
        position = 0
        for block in range(states.size):
            if states[block] == SAME:
                continue
            start = block * BLOCK_WORDS
            size = min(BLOCK_WORDS, expected.size - start)
            theirs = expected[start : start + size]
            out = chosen[position : position + size]
            base = (np.uintp(states[block]) - np.uintp(1)) << np.uintp(8)
            for i in range(size):
                out[i] = of_context[base | np.uintp(np.uint8((theirs[i] & rest) >> shift))]
            position += size

    return select


def _restore_loop(width: int) -> Kernel:
    signed, word = SIGNED_TYPES[width].type, WORD_TYPES[width].type
    top = 8 * width - 1
    rest = signed((1 << top) - 1)

    def restore(expected: Words, states: Plane, symbols: Plane, magnitudes: Words, words: Words) -> None:
        position = 0
        for block in range(states.size):
            start = block * BLOCK_WORDS
            size = min(BLOCK_WORDS, expected.size - start)
            theirs, out = expected[start : start + size], words[start : start + size]
            if states[block] == SAME:
                for i in range(size):
                    out[i] = theirs[i]
                continue
            symbol, magnitude = symbols[position : position + size], magnitudes[position : position + size]
            for i in range(size):
                y = theirs[i]
                minus = signed(0) - signed((symbol[i] & np.uint8(1)) ^ np.uint8(1))  # all ones for even symbols, and
                ahead = word(word(signed(magnitude[i]) ^ minus) - word(minus))  # the negative of 0 is 0
                x = signed(word(y ^ ((y >> top) & rest)) + ahead)
                out[i] = x ^ ((x >> top) & rest)
            position += size

    return restore


for _width in WORD_TYPES:
    _words, _signed = f"uint{8 * _width}[]", f"int{8 * _width}[]"
    DELTAS.add(
        f"compare{_width}", _compare_loop(_width), f"const {_signed}", f"const {_signed}", "int64", "int64",
        "uint8[]", "uint8[]", "uint16[]", _words, f"{_FLOATS[_width][0].__name__}[]", result="int64",
    )  # fmt: skip
    DELTAS.add(
        f"select{_width}", _select_loop(_width), f"const {_signed}", "int64",
        "const uint8[]", "const uint8[]", "uint8[]",
    )  # fmt: skip
    DELTAS.add(
        f"restore{_width}", _restore_loop(_width), f"const {_signed}", "const uint8[]", "const uint8[]",
        f"const {_words}", _signed,
    )  # fmt: skip
DELTAS.add("count", _count_loop, "const uint8[]", "const uint16[]", "int64", "uint32[]", "uint32[]", "uint32[]")
