"""Words into planes and back: NumPy and Numba against plain Python, and what happens without Numba."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from casstore import kernels
from casstore.kernels import WORD_TYPES, Plane, Words, compiled
from casstore.kernels.compiled import PLANES

WIDTHS = sorted(WORD_TYPES)
CASES = [(width, low_bytes) for width in WIDTHS for low_bytes in range(width + 1)]


def plain_split(words: Sequence[int], width: int, low_bytes: int) -> list[bytes]:
    """The definition in FORMAT.md, one word and one bit at a time."""
    kept = width - low_bytes
    planes = [bytearray() for _ in range(kept)]
    for word in words:
        value = word >> 8 * low_bytes
        if width > 1:
            value = value << 1 & (1 << 8 * kept) - 1 | word >> 8 * width - 1
        for number, plane in enumerate(planes):
            plane.append(value >> 8 * number & 0xFF)
    return [bytes(plane) for plane in planes]


def sample_words(width: int, low_bytes: int, count: int = 300_000) -> Words:
    """Random words and the odd ones: signed zero, infinity, NaN, subnormals; the low bytes zero."""
    odd = [0, 1, 1 << 8 * width - 1, (1 << 8 * width) - 1, 0x7F << 8 * width - 8, 0x80 << 8 * (width - 1) | 1]
    dtype = WORD_TYPES[width]
    words = np.frombuffer(np.random.default_rng(width).bytes(count * width), dtype).copy()
    words[: len(odd)] = np.array(odd, dtype)
    if low_bytes == width:
        words[:] = 0
    else:
        words >>= dtype.type(8 * low_bytes)
        words <<= dtype.type(8 * low_bytes)
    return words


def split(words: Words, low_bytes: int) -> list[Plane]:
    planes = [np.full(words.size, 0xAA, np.uint8) for _ in range(words.itemsize - low_bytes)]
    kernels.split(words, planes)
    return planes


@pytest.fixture(params=["numpy", "numba"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes `kernels` work with one engine only."""
    name = str(request.param)
    monkeypatch.setattr(PLANES, "pays_after_bytes", 0 if name == "numba" else 1 << 62)
    return name


@pytest.mark.parametrize(("width", "low_bytes"), CASES)
def test_both_engines_split_as_plain_python_does(engine: str, width: int, low_bytes: int) -> None:
    words = sample_words(width, low_bytes, count=700)
    assert [plane.tobytes() for plane in split(words, low_bytes)] == plain_split(words.tolist(), width, low_bytes)


@pytest.mark.parametrize(("width", "low_bytes"), CASES)
def test_both_engines_join_what_was_split(engine: str, width: int, low_bytes: int) -> None:
    words = sample_words(width, low_bytes)  # more than one block
    joined = np.full_like(words, 0x55)
    kernels.join(split(words, low_bytes), joined)
    assert (joined == words).all()


@pytest.mark.parametrize("width", WIDTHS)
def test_no_words_give_empty_planes(engine: str, width: int) -> None:
    words = np.empty(0, WORD_TYPES[width])
    assert [plane.size for plane in split(words, 0)] == [0] * width
    kernels.join(split(words, 0), words)


def test_words_at_odd_addresses(engine: str) -> None:
    words = sample_words(4, 0, count=5000)
    shifted = np.frombuffer(b"?" + words.tobytes(), np.uint8)[1:].view("<u4")
    planes = split(shifted, 0)
    assert [plane.tobytes() for plane in planes] == [plane.tobytes() for plane in split(words, 0)]
    joined = np.zeros(words.nbytes + 1, np.uint8)[1:].view("<u4")
    assert not joined.flags.aligned
    kernels.join(planes, joined)
    assert (joined == words).all()


def test_compiled_loops_see_only_aligned_words(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def kernel(*arguments: object) -> None:
        seen.extend(argument.flags.aligned for argument in arguments if isinstance(argument, np.ndarray))

    monkeypatch.setattr(PLANES, "_compiled", {"split4": kernel, "join4": kernel})
    monkeypatch.setattr(PLANES, "pays_after_bytes", 0)
    odd = np.zeros(401, np.uint8)[1:].view("<u4")
    planes = split(odd, 0)
    kernels.join(planes, odd)
    assert seen == [True] * 10


@pytest.mark.parametrize("name", [f"{action}{width}" for action in ("split", "join") for width in (2, 4, 8)])
def test_every_kernel_compiles(name: str) -> None:
    assert PLANES.compile(name) is not None


def test_numba_is_asked_only_after_enough_work(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(PLANES, "_compiled", {})
    monkeypatch.setattr(PLANES, "_worked_bytes", 0)
    monkeypatch.setattr(PLANES, "pays_after_bytes", 10_000)
    monkeypatch.setattr(PLANES, "compile", asked.append)
    words = np.arange(1000, dtype=np.uint32)
    split(words, 0)
    split(words, 0)
    assert asked == []
    split(words, 0)
    split(words, 0)
    assert asked == ["split4"]  # and an answer of "none" is remembered


def test_numpy_serves_while_another_thread_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(name: str) -> None:
        pytest.fail(f"{name} compiled twice at once")

    monkeypatch.setattr(PLANES, "_compiled", {})
    monkeypatch.setattr(PLANES, "pays_after_bytes", 0)
    monkeypatch.setattr(PLANES, "compile", unwanted)
    words = sample_words(4, 0, count=100)
    with compiled._lock:
        planes = split(words, 0)
    assert [plane.tobytes() for plane in planes] == plain_split(words.tolist(), 4, 0)


def test_small_work_never_loads_a_compiler() -> None:
    code = (
        "import sys, numpy; from casstore import codecs\n"
        "raw = numpy.linspace(0, 1, 1 << 18, dtype='f4').tobytes()\n"
        "codec, stored = codecs.encode(raw, 4)\n"
        "assert bytes(codecs.decode(codec, stored, len(raw))) == raw\n"
        "print(int(codec), 'llvmlite' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert process.stdout.split() == ["2", "False"]
