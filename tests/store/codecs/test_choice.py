"""Which codec is chosen for what, from many threads as well."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from casstore.codecs import Codec, byteplane, decode, encode, zstd
from casstore.errors import DamagedError

RANDOM = np.random.default_rng(3)
NOISE = RANDOM.bytes(1 << 20)
WEIGHTS = RANDOM.normal(0, 0.02, 1 << 18).astype("<f4").tobytes()
INDICES = np.repeat(np.arange(1 << 15, dtype="<i8"), 4).tobytes()
ROW = RANDOM.bytes(1000)
JSON = json.dumps({f"layer.{number}.weight": [number, number * 7] for number in range(9000)}).encode()

CHOICES = {
    "nothing": (b"", 0, Codec.RAW, 1.0),
    "nothing, of a width": (b"", 4, Codec.RAW, 1.0),
    "one byte": (b"x", 0, Codec.RAW, 1.0),
    "noise": (NOISE, 0, Codec.RAW, 1.0),
    "noise, of a width": (NOISE, 2, Codec.RAW, 1.0),
    "short noise": (NOISE[:1000], 0, Codec.RAW, 1.0),
    "short text": (JSON[:3000], 0, Codec.ZSTD, 0.5),
    "text": (JSON, 0, Codec.ZSTD, 0.1),
    "text, of an odd width": (JSON, 3, Codec.ZSTD, 0.1),
    "text, as a tensor of bytes": (JSON, 1, Codec.BYTEPLANE, 0.1),
    "floats": (WEIGHTS, 4, Codec.BYTEPLANE, 0.84),
    "floats of which nothing is known": (WEIGHTS, 0, Codec.BYTEPLANE, 0.84),
    "floats of which nothing is known, off by one": (WEIGHTS[1:], 0, Codec.BYTEPLANE, 0.84),
    "integers": (INDICES, 8, Codec.BYTEPLANE, 0.05),
    "complex numbers": (RANDOM.normal(size=1 << 17).tobytes(), 16, Codec.BYTEPLANE, 0.95),
    "zeros": (bytes(1 << 20), 4, Codec.BYTEPLANE, 0.001),
    "noise that repeats": (ROW * 1000, 0, Codec.ZSTD, 0.02),
    "noise that repeats, of a width": (ROW * 1000, 4, Codec.BYTEPLANE, 0.05),
}


@pytest.mark.parametrize(("raw", "width", "codec", "share"), CHOICES.values(), ids=CHOICES.keys())
def test_the_codec_chosen(raw: bytes, width: int, codec: Codec, share: float) -> None:
    chosen, stored = encode(raw, width)
    assert chosen is codec
    assert len(stored) <= share * len(raw)
    assert bytes(decode(chosen, stored, len(raw))) == raw


def test_long_noise_is_only_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(*_: object) -> None:
        pytest.fail("a codec was tried on all of it")

    monkeypatch.setattr(zstd, "encode", unwanted)
    monkeypatch.setattr(byteplane, "encode", unwanted)
    assert encode(NOISE, 0) == (Codec.RAW, NOISE)


@pytest.mark.parametrize("raw_length", [0, 2, 4])
def test_raw_bytes_of_another_length_are_damage(raw_length: int) -> None:
    with pytest.raises(DamagedError):
        decode(Codec.RAW, b"abc", raw_length)


@pytest.mark.parametrize("codec", [3, 4, 255])
def test_an_unknown_codec_is_damage(codec: int) -> None:
    with pytest.raises(DamagedError):
        decode(codec, b"abc", 3)


def test_threads_do_not_disturb_each_other() -> None:
    chunks = [(raw[shift:], width) for raw, width, *_ in CHOICES.values() for shift in range(6)]

    def there_and_back(chunk: tuple[bytes, int]) -> bool:
        codec, stored = encode(*chunk)
        return bytes(decode(codec, stored, len(chunk[0]))) == chunk[0]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, chunks))
