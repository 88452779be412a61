"""From a delta's payload to the words."""

from __future__ import annotations

import numpy as np

from casstore.buffers import Buffer
from casstore.codecs.delta.payload import Payload, damaged
from casstore.codecs.delta.scratch import Purpose, scratch
from casstore.kernels import Plane, Words, aligned
from casstore.kernels.coder import LOWEST_STATE, slots_of
from casstore.kernels.coder import decode as decode_symbols
from casstore.kernels.compiled import DELTAS
from casstore.kernels.decays import apply_decay
from casstore.kernels.differences import coded_count, restore, select
from casstore.kernels.fields import PADDING_WORDS, unpack


def decode(stored: Buffer, expected: Words) -> Buffer:
    """The bytes of as many words as are expected, in memory of their own; DamagedError for a payload that is none.

    Whether they are the right words is for the caller to check by their digest.
    """
    DELTAS.note_work(expected.nbytes)
    payload = Payload.from_bytes(memoryview(stored), expected.size, expected.itemsize)
    expected = aligned(expected)
    if payload.side.decay is not None:
        decayed = scratch("expected", expected.size, expected.dtype)
        apply_decay(payload.side.decay, expected, decayed)
        expected = decayed
    words = np.empty(expected.size, expected.dtype)
    symbols = _symbols(payload, expected)
    restore(expected, payload.side.states, symbols, _magnitudes(payload, symbols, expected), words)
    return words.view(np.uint8).data


def _symbols(payload: Payload, expected: Words) -> Plane:
    states, tables = payload.side.states, payload.side.tables
    symbols = scratch("symbols", coded_count(states, expected.size), np.uint8)
    if symbols.size:
        select(expected, payload.shift, states, tables.table_of, symbols)
    lanes = payload.lanes.copy()
    stream = _padded("stream", payload.stream, lanes.size)
    used = decode_symbols(stream, lanes, slots_of(tables.frequencies), symbols) if symbols.size else 0
    if used != payload.stream.size or (lanes != LOWEST_STATE).any():
        raise damaged("its coder does not end where it should")
    return symbols


def _magnitudes(payload: Payload, symbols: Plane, expected: Words) -> Words:
    magnitudes: Words = scratch("magnitudes", symbols.size, expected.dtype)
    used = unpack(_padded("bits", payload.bits, PADDING_WORDS), symbols, magnitudes)
    if -(-used // 32) != payload.bits.size:
        raise damaged("its bits do not end where they should")
    if used % 32 and int(payload.bits[-1]) >> used % 32:
        raise damaged("bits after its last are not zero")
    return magnitudes


def _padded(purpose: Purpose, items: Words, padding: int) -> Words:
    """At an address for compiled loops, and followed by zeros."""
    padded: Words = scratch(purpose, items.size + padding, items.dtype)
    padded[: items.size] = items
    padded[items.size :] = 0
    return padded
