"""Payloads that are none: refused as damage, or other words as many; never more memory than the words need."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import zstandard

from casstore.codecs import delta
from casstore.codecs.delta.scratch import KEPT_BYTES, scratch
from casstore.errors import DamagedError
from casstore.kernels import WORD_TYPES, Words
from casstore.kernels.compiled import DELTAS

HEADER = struct.Struct("<BBII")


@pytest.fixture(params=["numba", "numpy"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes deltas work with one engine only."""
    name = str(request.param)
    monkeypatch.setattr(DELTAS, "pays_after_bytes", 0 if name == "numba" else 1 << 62)
    return name


def pair(width: int, count: int) -> tuple[Words, Words]:
    random = np.random.default_rng(width)
    expected = np.frombuffer(random.bytes(count * width), WORD_TYPES[width])
    return expected + random.integers(0, 5, count).astype(expected.dtype) ** 2, expected


def survives(stored: bytes, expected: Words) -> None:
    """Decoding it is refused as damage, or gives as many words."""
    try:
        raw = delta.decode(stored, expected)
    except DamagedError:
        return
    assert len(raw) == expected.nbytes


@pytest.mark.parametrize("width", sorted(WORD_TYPES))
def test_any_changed_byte(engine: str, width: int) -> None:
    words, expected = pair(width, 140)
    good = delta.encode(words, expected)
    for position in range(len(good)):
        for value in (good[position] ^ 1, good[position] ^ 0x80, 0, 255):
            survives(good[:position] + bytes([value]) + good[position + 1 :], expected)


@pytest.mark.parametrize("width", sorted(WORD_TYPES))
def test_any_length(engine: str, width: int) -> None:
    words, expected = pair(width, 140)
    good = delta.encode(words, expected)
    for length in range(len(good)):
        with pytest.raises(DamagedError):
            delta.decode(good[:length], expected)
    for more in (b"\0", b"\0\0\0\0", b"12345678"):
        with pytest.raises(DamagedError):
            delta.decode(good + more, expected)


def test_other_expected_words_than_there_were(engine: str) -> None:
    words, expected = pair(4, 3000)
    good = delta.encode(words, expected)
    survives(good, expected[::-1].copy())
    for count in (0, 1, 128, 2999):
        with pytest.raises(DamagedError):
            delta.decode(good, expected[:count])


@pytest.mark.parametrize("seed", range(3))
def test_noise(engine: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    words, expected = pair(2, 6000)
    good = bytearray(delta.encode(words, expected))
    side_length = HEADER.unpack_from(good)[2]
    for _ in range(100):
        start = int(random.integers(HEADER.size + side_length, len(good) - 8))
        bad = good.copy()
        bad[start : start + 8] = random.bytes(8)
        survives(bytes(bad), expected)
        survives(random.bytes(200), expected)


class Parts:
    """A payload taken apart, to be put together wrongly."""

    def __init__(self, words: Words, expected: Words) -> None:
        payload = delta.encode(words, expected)
        self.shift, self.lane_bits, side_length, self.stream_words = HEADER.unpack_from(payload)
        end = HEADER.size + side_length
        self.side = bytearray(zstandard.ZstdDecompressor().decompress(payload[HEADER.size : end]))
        self.rest = payload[end:]

    def payload(self) -> bytes:
        side = zstandard.ZstdCompressor().compress(bytes(self.side))
        return HEADER.pack(self.shift, self.lane_bits, len(side), self.stream_words) + side + self.rest


def decay_of(starts: list[int], less: list[int]) -> bytes:
    count = len(starts)
    return struct.pack(f"<H{count}I{count}i{count}i", count, *starts, *less, *[0] * count)


def set_decay(decay: bytes) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        parts.side[:2] = decay

    return change


def set_side(position: int, *values: int) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        parts.side[position : position + len(values)] = bytes(values)

    return change


def set_field(name: str, value: int) -> Callable[[Parts], None]:
    return lambda parts: setattr(parts, name, value)


DAMAGE: dict[str, Callable[[Parts], None]] = {
    "a shift past the word": set_field("shift", 32),
    "too few lanes": set_field("lane_bits", 2),
    "too many lanes": set_field("lane_bits", 9),
    "other lanes": set_field("lane_bits", 4),
    "a long stream": set_field("stream_words", 0xFFFFFFFF),
    "no tables": set_side(2, 0),
    "more tables than may be": set_side(2, 65),
    "a context without its table": set_side(3, 1),
    "symbols that no word has": set_side(2 + 1 + 512, 255),
    "a table that does not add up": set_side(2 + 1 + 512 + 1, 0xFE),
    "an unknown state": set_side(-1, 3),
    "a decay that begins late": set_decay(decay_of([1], [0])),
    "a decay that goes back": set_decay(decay_of([0, 7, 7], [0, 0, 0])),
    "a decay past all mantissas": set_decay(decay_of([0, 1 << 23], [0, 0])),
    "a decay by too much": set_decay(decay_of([0], [-(1 << 22)])),
    "a decay by far too much": set_decay(decay_of([0], [-(1 << 31)])),
    "a decay in too many pieces": set_decay(decay_of(list(range(1025)), [0] * 1025)),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_named_as_such(engine: str, change: Callable[[Parts], None]) -> None:
    words, expected = pair(4, 100)
    parts = Parts(words, expected)
    assert bytes(delta.decode(parts.payload(), expected)) == words.tobytes()
    change(parts)
    with pytest.raises(DamagedError):
        delta.decode(parts.payload(), expected)


def test_only_words_of_four_bytes_decay(engine: str) -> None:
    words, expected = pair(2, 100)
    parts = Parts(words, expected)
    set_decay(decay_of([0], [0]))(parts)
    with pytest.raises(DamagedError):
        delta.decode(parts.payload(), expected)


@pytest.mark.parametrize("side_bytes", [20_000, 1 << 30])
def test_a_side_section_that_claims_any_size_takes_no_memory_for_it(engine: str, side_bytes: int) -> None:
    expected = np.zeros(1000, "<u4")
    side = zstandard.ZstdCompressor().compress(bytes(20_000)) if side_bytes == 20_000 else None
    if side is None:
        side = b"\x28\xb5\x2f\xfd\xe0" + side_bytes.to_bytes(8, "little") + b"\x01\x00\x00"
    stored = HEADER.pack(7, 3, len(side), 0) + side
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError):
            delta.decode(stored, expected)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("width", sorted(WORD_TYPES))
def test_memory_is_a_small_multiple_of_the_words(engine: str, width: int) -> None:
    words, expected = pair(width, (1 << 20) // width)
    delta.decode(delta.encode(words[:200], expected[:200]), expected[:200])  # compiles
    tracemalloc.start()
    try:
        stored = delta.encode(words, expected)
        encoding_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        delta.decode(stored, expected)
        decoding_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    spent_bytes = 10 * words.nbytes + (12 << 20)  # NumPy looks at some words at a time, which takes as much again
    assert encoding_bytes < spent_bytes
    assert decoding_bytes < spent_bytes


def test_scratch_memory_is_bounded() -> None:
    kept = scratch("bits", 1000, np.uint32)
    assert np.shares_memory(kept, scratch("bits", 500, np.uint16))
    assert not np.shares_memory(kept, scratch("symbols", 1000, np.uint8))
    long = scratch("bits", KEPT_BYTES + 1, np.uint8)
    assert not np.shares_memory(long, scratch("bits", KEPT_BYTES + 1, np.uint8))
