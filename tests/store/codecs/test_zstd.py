"""The zstd codec: what it writes, and what it refuses."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import zstandard

from casstore.codecs import Codec, decode, zstd
from casstore.errors import DamagedError

TEXT = b"".join(b"line %d of some text\n" % number for number in range(5000))


def test_a_frame_is_an_ordinary_one_that_states_its_size() -> None:
    for stored in (zstd.encode(TEXT), zstd.encode_orderly(TEXT)):
        parameters = zstandard.get_frame_parameters(stored)
        assert (parameters.content_size, parameters.has_checksum, parameters.dict_id) == (len(TEXT), False, 0)
        assert zstandard.ZstdDecompressor().decompress(stored) == TEXT
        assert zstd.decode(stored, len(TEXT)) == TEXT


def without_size(raw: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(raw)


GOOD = zstd.encode(TEXT)
DAMAGE = {
    "nothing": b"",
    "one byte": GOOD[:1],
    "no frame": b"not zstd at all",
    "cut short": GOOD[:-1],
    "only the header": GOOD[:10],
    "bytes after the end": GOOD + b"x",
    "a second frame": GOOD + zstd.encode(b"more"),
    "a wrong byte": GOOD[:20] + bytes([GOOD[20] ^ 0xFF]) + GOOD[21:],
    "a longer content": zstd.encode(TEXT + b"x"),
    "a shorter content": zstd.encode(TEXT[:-1]),
    "no size stated": without_size(TEXT),
    "a skippable frame": b"\x50\x2a\x4d\x18" + len(TEXT).to_bytes(4, "little") + bytes(len(TEXT)),
}


@pytest.mark.parametrize("stored", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_named_as_such(stored: bytes) -> None:
    try:
        raw = zstd.decode(stored, len(TEXT))
    except DamagedError:
        return
    # A wrong byte within a literal is for the chunk's digest to find; the length still holds.
    assert stored is DAMAGE["a wrong byte"]
    assert len(raw) == len(TEXT)


@pytest.mark.parametrize("claimed", [len(TEXT) + 1, 1 << 31, 1 << 40])
def test_a_lying_size_takes_no_memory(claimed: int) -> None:
    header = b"\x28\xb5\x2f\xfd" + b"\xe0" + claimed.to_bytes(8, "little")  # one segment, eight bytes of size
    assert zstandard.get_frame_parameters(header).content_size == claimed
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError):
            decode(Codec.ZSTD, header + GOOD[9:], len(TEXT))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [0, 1, 1000, 100_000, 3_000_000])
def test_a_probe_tells_text_from_noise(length: int) -> None:
    assert zstd.probe(np.random.default_rng(1).bytes(length)) >= (1 if length else 0)
    assert zstd.probe((TEXT * 50)[:length]) < (0.5 if length >= 1000 else 20)
