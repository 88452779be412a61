"""The delta codec: its bytes, what it leaves of weights, and that both engines agree."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from casstore.codecs import delta
from casstore.kernels import WORD_TYPES, Words
from casstore.kernels.compiled import DELTAS
from tests.store.codecs import plain_delta

WIDTHS = sorted(WORD_TYPES)
FLOATS = {2: "<f2", 4: "<f4", 8: "<f8"}
SPECIAL = {
    1: list(range(256)),
    2: [0, 0x8000, 1, 0x8001, 0x7F80, 0xFF80, 0x7FC0, 0xFFFF, 0x7FFF, 0x0080, 0x007F, 0x7C00, 0xFC00, 0x7E00],
    4: [0, 1 << 31, 1, 1 << 31 | 1, 0x7F800000, 0xFF800000, 0x7FC00000, (1 << 32) - 1, (1 << 31) - 1, 1 << 23,
        (1 << 23) - 1, 0x807FFFFF, 0x7F7FFFFF],
    8: [0, 1 << 63, 1, 1 << 63 | 1, 0x7FF << 52, 0xFFF << 52, 0x7FF8 << 48, (1 << 64) - 1, (1 << 63) - 1, 1 << 52,
        (1 << 52) - 1],
}  # fmt: skip
"""Zeros of either sign, subnormals, infinities, NaNs."""

SIZES = [*range(20), 127, 128, 129, 255, 256, 257, 300, 1000, 4095, 4097, 33_000]
ENGINES = {"numba": 0, "numpy": 1 << 62}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes deltas work with one engine only."""
    name = str(request.param)
    monkeypatch.setattr(DELTAS, "pays_after_bytes", ENGINES[name])
    return name


def encoded(words: Words, expected: Words, shift: int | None = None) -> bytes:
    """The payload, which is the same from both engines and is read by both."""
    payloads = []
    for pays_after_bytes in ENGINES.values():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DELTAS, "pays_after_bytes", pays_after_bytes)
            payloads.append(delta.encode(words, expected, shift))
            assert bytes(delta.decode(payloads[0], expected)) == words.tobytes()
    assert payloads[0] == payloads[1]
    return payloads[0]


def share(words: Words, expected: Words) -> float:
    return len(encoded(words, expected)) / words.nbytes


def of_kind(kind: str, width: int, count: int) -> tuple[Words, Words]:
    """Words and what was expected of them."""
    random = np.random.default_rng(count)
    dtype = WORD_TYPES[width]
    noise, other = (np.frombuffer(random.bytes(count * width), dtype) for _ in range(2))
    special = random.choice(np.array(SPECIAL[width], dtype), (2, count))
    near = random.integers(-3, 4, count).astype(f"<i{width}").view(dtype)
    match kind:
        case "noise":
            return noise, other
        case "the same":
            return noise, noise
        case "special":
            return special[0], special[1]
        case "special after noise":
            return special[0], noise
        case "near":
            return noise + near, noise
        case "here and there":
            return np.where(random.random(count) < 0.02, other, noise), noise
    raise ValueError(kind)


@pytest.mark.parametrize("kind", ["noise", "the same", "special", "special after noise", "near", "here and there"])
@pytest.mark.parametrize("width", WIDTHS)
def test_words_come_back(width: int, kind: str) -> None:
    for count in SIZES:
        words, expected = of_kind(kind, width, count)
        payload = encoded(words, expected)
        if count <= 300:
            assert plain_delta.decode(payload, expected.tolist(), width) == words.tolist()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_farthest_differences(width: int) -> None:
    top = 1 << 8 * width - 1
    dtype = WORD_TYPES[width]
    edges = np.array([0, 1, top - 1, top, top + 1, 2 * top - 1], dtype)
    encoded(np.repeat(edges, edges.size), np.tile(edges, edges.size))


def test_words_at_odd_addresses(engine: str) -> None:
    words, expected = of_kind("near", 4, 1000)
    odd = [np.frombuffer(b"?" + each.tobytes(), np.uint8)[1:].view("<u4") for each in (words, expected)]
    payload = delta.encode(odd[0], odd[1])
    assert payload == delta.encode(words, expected)
    stored = memoryview(b"?" + payload)[1:]
    assert bytes(delta.decode(stored, odd[1])) == words.tobytes()


def test_the_payload_byte_by_byte() -> None:
    expected = np.array([0x3F80, 0x3F80, 0xBF80], "<u2")
    words = np.array([0x3F80, 0x3F81, 0xBF85], "<u2")  # the same, one more, five less
    payload = encoded(words, expected, 7)
    shift, lane_bits, side_length, stream_words = struct.unpack_from("<BBII", payload)
    assert (shift, lane_bits) == (7, 3)
    assert len(payload) == 10 + side_length + 4 * 8 + 2 * stream_words + 4
    assert struct.unpack_from("<I", payload, len(payload) - 4) == (1,)  # of five, 101, the first two are the symbol
    assert bytes(delta.decode(payload, expected)) == words.tobytes()


def test_nothing_differs_or_nothing_is_there() -> None:
    words = np.arange(1 << 16, dtype="<u4")
    assert len(encoded(words, words)) < 50
    assert len(encoded(words[:0], words[:0])) < 30


WEIGHTS = np.random.default_rng(5).normal(0, 0.02, 1 << 17).astype("<f4")


def nudged(scale: float) -> Words:
    """As if trained a little more: every weight moves by about ``scale``."""
    moved = WEIGHTS + np.random.default_rng(6).normal(0, scale, WEIGHTS.size)
    return moved.astype("<f4").view("<u4")


def as_bfloat16(words: Words) -> Words:
    return (words + np.uint32(0x7FFF) >> np.uint32(16)).astype("<u2")


def as_float16(words: Words) -> Words:
    narrow: Words = words.view("<f4").astype("<f2").view("<u2")
    return narrow


@pytest.mark.parametrize(("scale", "wide", "brain", "half"), [(1e-6, 0.39, 0.014, 0.052), (1e-4, 0.6, 0.19, 0.37)])
def test_what_is_left_of_trained_weights(scale: float, wide: float, brain: float, half: float) -> None:
    base, words = WEIGHTS.view("<u4"), nudged(scale)
    assert share(words, base) < wide
    assert share(as_bfloat16(words), as_bfloat16(base)) < brain
    assert share(as_float16(words), as_float16(base)) < half
    doubles = [each.view("<f4").astype("<f8").view("<u8") for each in (words, base)]
    assert share(*doubles) < (wide + 1) * 0.47


def test_the_type_of_halves_is_guessed() -> None:
    base, words = WEIGHTS.view("<u4"), nudged(1e-4)
    for cast, shift in ((as_bfloat16, 7), (as_float16, 10)):
        assert delta.encode(cast(words), cast(base))[0] == shift
        assert delta.encode(cast(words), cast(base), 17 - shift)[0] == 17 - shift


def decayed(factor: float, steps: int) -> tuple[Words, Words]:
    """Weights, a few odd ones among them, that some steps of decay have shrunk, and their base."""
    base = WEIGHTS.copy()
    for stride, odd in ((1013, np.inf), (997, np.nan), (1511, 0.0), (2003, -0.0), (701, 1e-40)):
        base[::stride] = odd
    words = base.copy()
    for _ in range(steps):
        words *= np.float32(factor)
    return words.view("<u4"), base.view("<u4")


@pytest.mark.parametrize(
    ("factor", "steps", "limit"),
    [(1 - 2e-7, 100, 0.002), (1 - 2e-6, 300, 0.037), (1 - 5e-6, 1000, 0.32), (1 + 2e-7, 50, 0.002)],
)
def test_decay_costs_next_to_nothing(factor: float, steps: int, limit: float) -> None:
    words, base = decayed(factor, steps)
    assert share(words, base) < limit
    words[: words.size // 4] = nudged(1e-4)[: words.size // 4]  # as are the rows of tokens that were seen
    assert share(words, base) < limit + 0.6 / 4


def test_steps_that_no_block_confirms() -> None:
    random = np.random.default_rng(8)
    base = WEIGHTS[:8192].view("<u4")
    steps = (base >> np.uint32(19) & np.uint32(15)) * np.uint32(9) + np.uint32(3)
    trained = random.integers(1 << 12, 1 << 16, base.size).astype("<u4")
    encoded(base - np.where(random.random(base.size) < 0.3, steps, trained), base)


def test_decayed_words_are_read_as_the_format_says() -> None:
    for factor, steps in ((1 - 2e-6, 30), (1 - 5e-6, 1000)):
        words, base = (each[:9000] for each in decayed(factor, steps))
        payload = encoded(words, base)
        assert plain_delta.decode(payload, base.tolist(), 4) == words.tolist()


def test_threads_do_not_share_their_memory(engine: str) -> None:
    pairs = [of_kind(kind, 4, 9_000) for kind in ("near", "here and there", "special after noise", "noise") * 4]
    with ThreadPoolExecutor(4) as threads:
        payloads = list(threads.map(lambda pair: delta.encode(*pair), pairs))
        words = threads.map(lambda stored, pair: bytes(delta.decode(stored, pair[1])), payloads, pairs)
        assert [bytes(each) for each in words] == [pair[0].tobytes() for pair in pairs]
    assert payloads == [delta.encode(*pair) for pair in pairs]
