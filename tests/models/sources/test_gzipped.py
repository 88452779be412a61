from __future__ import annotations

import gzip
import random
import tracemalloc
from pathlib import Path

import pytest

from casmodels.errors import WrongBytesError
from casmodels.sources.gzipped import UnpackLimits, is_gzip_name, unpack, unpacked_name
from casstore.errors import InvalidInputError, StoreError


def gzipped(data: bytes) -> bytes:
    """Without the time, which would give the tests other names in each process."""
    return gzip.compress(data, mtime=0)


DATA = random.Random(3).randbytes(2_500_000) + bytes(1_000_000)


@pytest.mark.parametrize(
    ("packed", "data"),
    [
        (gzipped(DATA), DATA),
        (gzipped(b""), b""),
        (gzipped(DATA[:1000]) + gzipped(b"") + gzipped(DATA[1000:]), DATA),
        (gzipped(DATA) + bytes(512), DATA),
        (gzipped(b"a") + bytes(3) + gzipped(b"b"), b"ab"),
        (gzipped(bytes(5_000_000)), bytes(5_000_000)),
    ],
)
def test_what_was_packed_comes_out(tmp_path: Path, packed: bytes, data: bytes) -> None:
    (tmp_path / "model.pt.gz").write_bytes(packed)
    heard: list[int] = []
    assert unpack(tmp_path / "model.pt.gz", tmp_path / "out", progress=heard.append) == len(data) == sum(heard)
    assert (tmp_path / "out").read_bytes() == data


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


PACKED = gzipped(DATA)


@pytest.mark.parametrize(
    ("packed", "match"),
    [
        (b"", r"model\.gz is no gzip file"),
        (b"\x1f", "no gzip file"),
        (b"PK\x03\x04 not gzip", "no gzip file"),
        (bytes(100), "no gzip file"),
        (PACKED[:-1], "cut short"),
        (PACKED[: len(PACKED) // 2], "cut short"),
        (PACKED[:5], "cut short"),
        (PACKED + PACKED[:100], "cut short"),
        (flipped(PACKED, len(PACKED) - 6), "damaged"),
        (flipped(PACKED, len(PACKED) - 2), "damaged"),
        (flipped(PACKED, len(PACKED) // 2), "damaged"),
        (PACKED + b"garbage", "goes on after"),
        (PACKED + b"g", "goes on after"),
        (PACKED + bytes(2 << 20) + b"garbage", "goes on after"),
    ],
)
def test_what_is_wrong_is_refused_and_leaves_nothing(tmp_path: Path, packed: bytes, match: str) -> None:
    (tmp_path / "model.gz").write_bytes(packed)
    with pytest.raises(WrongBytesError, match=match):
        unpack(tmp_path / "model.gz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (UnpackLimits(size_bytes=9_999_999), "unpacks to more than 9999999 bytes"),
        (UnpackLimits(ratio=100, grace_bytes=1 << 20), "unpacks to more than 100 times its size"),
        (UnpackLimits(size_bytes=10_000_000, ratio=100, grace_bytes=10_000_000), None),
        (UnpackLimits(ratio=2000, grace_bytes=0), None),
    ],
)
def test_limits(tmp_path: Path, limits: UnpackLimits, error: str | None) -> None:
    (tmp_path / "model.gz").write_bytes(gzipped(bytes(10_000_000)))
    if error is None:
        assert unpack(tmp_path / "model.gz", tmp_path / "out", limits) == 10_000_000
        return
    with pytest.raises(InvalidInputError, match=error) as caught:
        unpack(tmp_path / "model.gz", tmp_path / "out", limits, name="https://host/model.gz")
    assert str(caught.value).startswith("https://host/model.gz ")
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "model.gz").write_bytes(gzipped(bytes(60_000_000)))
    tracemalloc.start()
    try:
        unpack(tmp_path / "model.gz", tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_stopping_half_way_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.gz").write_bytes(PACKED)

    def stop(_: int) -> None:
        raise StoreError("stop")

    with pytest.raises(StoreError, match="stop"):
        unpack(tmp_path / "model.gz", tmp_path / "out", progress=stop)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "unpacked"),
    [("model.pt.gz", "model.pt"), ("MODEL.GZ", "MODEL"), (".gz", ".gz"), ("model.pt", "model.pt"), ("x.tgz", "x.tgz")],
)
def test_names(name: str, unpacked: str) -> None:
    assert unpacked_name(name) == unpacked
    assert is_gzip_name(name) == (name != unpacked)
