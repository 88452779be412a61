"""The byteplane codec: its bytes, what it leaves of floats, and what it refuses."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from casstore.codecs import byteplane, zstd
from casstore.errors import DamagedError

WEIGHTS = np.random.default_rng(5).normal(0, 0.02, 1 << 18).astype("<f4")
BF16 = (WEIGHTS.view("<u4") >> 16).astype("<u2")


def encoded(raw: bytes, width: int, lead_bytes: int = 0) -> bytes:
    stored = byteplane.encode(raw, width, lead_bytes)
    assert stored is not None
    assert bytes(byteplane.decode(stored, len(raw))) == raw
    return bytes(stored)


def test_the_payload_byte_by_byte() -> None:
    # One lead byte, three words of two bytes (signs +, -, +), one tail byte.
    stored = encoded(b"L" + struct.pack("<3H", 0x0102, 0x8102, 0x0102) + b"T", 2, lead_bytes=1)
    rotated = [0x0204, 0x0205, 0x0204]
    low = struct.pack("<BBI", 0, 0, 3)  # plane 0, raw, 3 bytes: too few to gain from coding
    high = struct.pack("<BBI", 1, 2, 1)  # plane 1, one value throughout
    assert stored == (b"\x02\x01\x00" + low + high + b"LT" + bytes(word & 0xFF for word in rotated) + b"\x02")


def test_zero_words_leave_the_header_alone() -> None:
    assert encoded(bytes(4096 + 3), 4) == b"\x04\x00\x04" + bytes(3)


def test_random_planes_are_stored_as_they_are_and_first() -> None:
    stored = encoded(WEIGHTS.tobytes(), 4)
    entries = [struct.unpack_from("<BBI", stored, 3 + 6 * number) for number in range(4)]
    assert [entry[:2] for entry in entries] == [(0, 0), (1, 0), (2, 0), (3, 1)]
    rotated = (WEIGHTS.view("<u4") << 1) | (WEIGHTS.view("<u4") >> 31)
    assert stored[27 : 27 + WEIGHTS.size] == (rotated & 0xFF).astype(np.uint8).tobytes()
    exponents = (rotated >> 24).astype(np.uint8).tobytes()
    assert zstd.decode(stored[-entries[3][2] :], WEIGHTS.size) == exponents


@pytest.mark.parametrize(
    ("raw", "width", "share"),
    [
        (WEIGHTS.tobytes(), 4, 0.84),
        (BF16.tobytes(), 2, 0.68),
        (WEIGHTS.astype("<f2").tobytes(), 2, 0.88),
        (WEIGHTS.astype("<f8").tobytes(), 8, 0.46),
        (np.repeat(WEIGHTS[:64], 4096).tobytes(), 4, 0.005),
    ],
    ids=["fp32", "bf16", "fp16", "fp64 that was fp32", "repeated values"],
)
def test_what_is_left_of_floats(raw: bytes, width: int, share: float) -> None:
    assert len(encoded(raw, width)) < share * len(raw)


def test_bf16_kept_as_fp32_costs_what_bf16_does() -> None:
    widened = (BF16.astype("<u4") << 16).tobytes()
    assert len(encoded(widened, 4)) == len(encoded(BF16.tobytes(), 2))


def test_repeated_rows_are_seen_through_their_random_planes() -> None:
    row = np.random.default_rng(8).bytes(1536)
    assert len(encoded(row * 500, 2)) < 0.02 * len(row) * 500


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_noise_is_declined(width: int) -> None:
    assert byteplane.encode(np.random.default_rng(9).bytes(1 << 20), width) is None


@pytest.mark.parametrize("lead_bytes", range(9))
@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_any_lead_and_tail(width: int, lead_bytes: int) -> None:
    raw = bytes(range(64)) * 200
    if lead_bytes < width:
        for length in (lead_bytes, lead_bytes + 1, 4001, 4002, 4007):
            encoded(raw[:length], width, lead_bytes)


RAW = BF16[:20_000].tobytes() + b"!"
GOOD = encoded(RAW, 2)


def changed(position: int, *values: int) -> bytes:
    return GOOD[:position] + bytes(values) + GOOD[position + len(values) :]


DAMAGE = {
    "nothing": b"",
    "half a header": GOOD[:2],
    "entries cut short": GOOD[:10],
    "planes cut short": GOOD[:-1],
    "a byte too many": GOOD + b"x",
    "no width": changed(0, 0),
    "a width that no word has": changed(0, 3),
    "another width": changed(0, 4),
    "a lead as long as a word": changed(1, 2),
    "more zero planes than planes": changed(2, 3),
    "all planes zero": changed(2, 2),
    "one plane twice": changed(3, 1),
    "a plane that words do not have": changed(3, 2),
    "an unknown mode": changed(4, 3),
    "a raw plane said to be zstd": changed(4, 1),
    "a raw plane said to be constant": changed(4, 2),
    "a coded plane said to be raw": changed(10, 0),
    "a longer plane": changed(5, GOOD[5] + 1),
    "a huge plane": changed(5, 0xFF, 0xFF, 0xFF, 0xFF),
}


@pytest.mark.parametrize("stored", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_named_as_such(stored: bytes) -> None:
    with pytest.raises(DamagedError):
        byteplane.decode(stored, len(RAW))


@pytest.mark.parametrize("raw_length", [0, 1, len(RAW) - 1, len(RAW) + 1, 2 * len(RAW)])
def test_another_length_is_damage(raw_length: int) -> None:
    with pytest.raises(DamagedError):
        byteplane.decode(GOOD, raw_length)


@pytest.mark.parametrize(
    ("stored", "raw_length"),
    [
        (b"\x02\x02\x02" + b"ab", 4),  # a lead of a whole word, before one zero word
        (b"\x08\x07\x08" + b"abc", 3),  # a lead longer than the chunk
        (b"\x08\x07\x07" + b"\x07\x02\x01\x00\x00\x00" + b"abc" + b"z", 3),  # and a plane of no words
    ],
)
def test_a_lead_that_no_encoder_writes_is_damage(stored: bytes, raw_length: int) -> None:
    with pytest.raises(DamagedError):
        byteplane.decode(stored, raw_length)


@pytest.mark.parametrize("shift", [0, 1])
def test_it_decodes_into_memory_that_is_given(shift: int) -> None:
    raw = np.random.default_rng(1).standard_normal(5000).astype(np.float32).tobytes()
    stored = byteplane.encode(raw, 4)
    assert stored is not None
    memory = memoryview(bytearray(len(raw) + shift))[shift:]
    assert byteplane.decode(stored, len(raw), memory) is memory
    assert memory == raw
