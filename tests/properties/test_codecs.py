"""Whatever the bytes, each codec gives them back; whatever is stored, decoding it ends well or as damage."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from casstore import kernels
from casstore.codecs import Codec, byteplane, decode, encode, zstd
from casstore.errors import DamagedError
from casstore.kernels.compiled import PLANES

widths = st.integers(0, 16)
word_widths = st.sampled_from((1, 2, 4, 8))
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-45, 5e-324, 6e-8, 65504.0, 1e-38]


@st.composite
def float_bytes(draw: st.DrawFn) -> bytes:
    """Floats of some width, odd ones among them, with some bytes before and after."""
    dtype = np.dtype(draw(st.sampled_from(("<f2", "<f4", "<f8"))))
    floats = draw(
        arrays.arrays(dtype, st.integers(0, 300), elements=arrays.from_dtype(dtype) | st.sampled_from(SPECIAL))
        if draw(st.booleans())
        else st.builds(
            lambda seed, count, scale: (scale * np.random.default_rng(seed).standard_normal(count)).astype(dtype),
            st.integers(0, 1 << 30),
            st.integers(0, 50_000),
            st.sampled_from((1e-40, 0.02, 1e4)),
        )
    )
    kept = draw(st.integers(0, dtype.itemsize))  # with fewer than all, the low bytes are zero
    words = floats.view(kernels.WORD_TYPES[dtype.itemsize])
    mask = ((1 << 8 * kept) - 1) << 8 * (dtype.itemsize - kept)
    raw: bytes = (words & words.dtype.type(mask)).tobytes()
    return draw(st.binary(max_size=9)) + raw + draw(st.binary(max_size=9))


class Shown(bytes):
    """Bytes that a failure shows the beginning of."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes: {self[:40].hex()}>"


raw_bytes = (
    st.binary(max_size=2000)
    | float_bytes()
    | st.builds(lambda part, times: part * times, st.binary(max_size=40), st.integers(0, 3000))
    | st.builds(lambda seed, n: np.random.default_rng(seed).bytes(n), st.integers(0, 99), st.integers(0, 100_000))
).map(Shown)


@given(raw_bytes, widths)
@settings(max_examples=400)
def test_the_chosen_codec_gives_the_bytes_back(raw: bytes, width: int) -> None:
    codec, stored = encode(raw, width)
    assert len(stored) <= len(raw)
    assert bytes(decode(codec, stored, len(raw))) == raw


@given(raw_bytes)
@settings(max_examples=150)
def test_zstd_gives_the_bytes_back(raw: bytes) -> None:
    for stored in (zstd.encode(raw), zstd.encode_orderly(raw)):
        assert decode(Codec.ZSTD, stored, len(raw)) == raw


@given(raw_bytes, word_widths, st.integers(0, 7))
@settings(max_examples=400)
def test_byteplane_gives_the_bytes_back_with_either_engine(raw: bytes, width: int, lead_bytes: int) -> None:
    payloads = []
    for pays_after_bytes in (0, 1 << 62):  # Numba, NumPy
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PLANES, "pays_after_bytes", pays_after_bytes)
            stored = byteplane.encode(raw, width, lead_bytes % width)
            payloads.append(None if stored is None else bytes(stored))
            if stored is not None:
                assert bytes(decode(Codec.BYTEPLANE, stored, len(raw))) == raw
    assert payloads[0] == payloads[1]


# Damage: garbage, and good payloads with bytes changed, dropped and added.
good = st.tuples(raw_bytes, widths).map(lambda chunk: (*encode(*chunk), len(chunk[0])))


@st.composite
def damaged(draw: st.DrawFn) -> tuple[int, bytes, int]:
    codec, stored, raw_length = draw(good)
    mended = bytearray(stored)
    for position in draw(st.lists(st.integers(0, 60) | st.integers(0, 1 << 17), max_size=4)):
        if position < len(mended):
            mended[position] = draw(st.integers(0, 255))
    end = draw(st.integers(0, len(mended))) if draw(st.booleans()) else len(mended)
    return int(codec), Shown(mended[:end] + draw(st.binary(max_size=3))), raw_length


magic = st.sampled_from((b"", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"))
garbage = st.tuples(st.integers(0, 5), st.builds(bytes.__add__, magic, st.binary(max_size=300)), st.integers(0, 5000))


@given(damaged() | garbage)
@settings(max_examples=800)
def test_whatever_is_stored_decodes_to_that_length_or_is_damage(frame: tuple[int, bytes, int]) -> None:
    codec, stored, raw_length = frame
    tracemalloc.start()
    try:
        raw = decode(codec, stored, raw_length)
    except DamagedError:
        pass
    else:
        assert len(raw) == raw_length
    finally:
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # The bytes, their planes, words half joined (2.5 times the bytes where they are few), and the interpreter's own
    # small change.
    assert peak_bytes < 5 * raw_length + (512 << 10)


@given(st.binary(max_size=2000), st.integers(0, 1 << 62), st.booleans())
@settings(max_examples=200)
def test_a_frame_that_claims_any_size_takes_no_memory_for_it(body: bytes, claimed: int, good_body: bool) -> None:
    rest = zstandard.ZstdCompressor(write_content_size=False).compress(body)[6:] if good_body else body
    stored = b"\x28\xb5\x2f\xfd\xe0" + claimed.to_bytes(8, "little") + rest
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError):
            decode(Codec.ZSTD, stored, len(body) + 1)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
