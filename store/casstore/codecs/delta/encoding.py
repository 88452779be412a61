"""From words to a delta's payload."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from casstore.codecs.delta.learning import Learnt, learn_decay
from casstore.codecs.delta.payload import LANE_BITS, Payload, Side
from casstore.codecs.delta.samples import sample_runs
from casstore.codecs.delta.scratch import scratch
from casstore.kernels import Words, aligned
from casstore.kernels.coder import LOWEST_STATE, entries_of
from casstore.kernels.coder import encode as encode_symbols
from casstore.kernels.compiled import DELTAS
from casstore.kernels.decays import apply_decay
from casstore.kernels.differences import Differences, block_count, compare, count, symbol_count
from casstore.kernels.fields import pack, room_words
from casstore.kernels.tables import Tables, tables_for

_EXPONENT_SHIFTS: Final = {1: 2, 4: 23, 8: 52}
_BFLOAT16_SHIFT, _FLOAT16_SHIFT = 7, 10

_GUESSING_RUNS: Final = 16
_EXPONENT_BITS: Final = 4.3
"""Bytes from where bfloat16 has its exponent have no more entropy than this if the words are bfloat16: in float16,
three bits of the mantissa are among them, which are random.
"""

_MOST_LANE_BITS: Final = 7
_WORDS_PER_LANE_BITS: Final = 12
"""A lane costs four bytes; for 4096 words that is nothing. NumPy is the faster the more lanes there are."""


def encode(words: Words, expected: Words, exponent_shift: int | None = None) -> bytes:
    """The payload for words of which others are expected, as many and of the same type; it may be longer than they.

    ``exponent_shift`` is where the exponent of 16-bit words begins, in bits: 7 for bfloat16, 10 for float16; it is
    guessed if not given. A wrong one costs size only. Safe to call from many threads.
    """
    DELTAS.note_work(words.nbytes)
    words, expected = aligned(words), aligned(expected)
    learnt = learn_decay(words, expected) if words.itemsize == 4 else Learnt(None, 1)
    if learnt.decay is not None:
        decayed = scratch("expected", words.size, words.dtype)
        apply_decay(learnt.decay, expected, decayed)
        expected = decayed
    shift = _EXPONENT_SHIFTS.get(words.itemsize, exponent_shift)
    shift = _guess_shift(expected) if shift is None else shift
    found = _compare(words, expected, shift, learnt.much)
    bits = scratch("bits", room_words(found.symbols.size, words.itemsize), np.uint32)
    used = pack(found.magnitudes, found.symbols, bits)
    tables = tables_for(count(found.symbols, found.contexts, symbol_count(words.itemsize)))
    lanes, stream = _code(found, tables)
    side = Side(learnt.decay, tables, found.states)
    return Payload(shift, side, lanes, stream, bits[: -(-used // 32)]).to_bytes()


def _compare(words: Words, expected: Words, shift: int, much: int) -> Differences:
    room = Differences(
        np.empty(block_count(words.size), np.uint8),
        scratch("symbols", words.size, np.uint8),
        scratch("contexts", words.size, np.uint16),
        scratch("magnitudes", words.size, words.dtype),
    )
    coded = compare(words, expected, shift, much, room)
    return replace(
        room, symbols=room.symbols[:coded], contexts=room.contexts[:coded], magnitudes=room.magnitudes[:coded]
    )


def _code(found: Differences, tables: Tables) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    """The lanes as the decoder finds them, and the stream."""
    coded = found.symbols.size
    if not coded:
        return np.empty(0, np.uint32), np.empty(0, np.uint16)
    lane_bits = min(max((coded >> _WORDS_PER_LANE_BITS).bit_length() - 1, LANE_BITS.start), _MOST_LANE_BITS)
    lanes = np.full(1 << lane_bits, LOWEST_STATE, np.uint32)
    stream = scratch("stream", coded + 1, np.uint16)
    start = encode_symbols(
        found.symbols, found.contexts, tables.table_of, entries_of(tables.frequencies), lanes, stream
    )
    return lanes, stream[start:]


def _guess_shift(expected: Words) -> int:
    sample = sample_runs(expected, _GUESSING_RUNS)
    exponents = (sample & np.uint16(0x7FFF)) >> np.uint16(_BFLOAT16_SHIFT)
    shares = np.bincount(exponents, minlength=256) / max(sample.size, 1)
    entropy_bits = -float((shares * np.log2(np.maximum(shares, 1e-9))).sum())
    return _FLOAT16_SHIFT if entropy_bits > _EXPONENT_BITS else _BFLOAT16_SHIFT
