"""Whatever the bytes are: no error, no wrong span, no long wait, no great memory."""

from __future__ import annotations

import pickle
import pickletools
import time
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from casmodels.formats import find_spans
from casmodels.formats.layout import DoubtError
from casmodels.formats.pickles import MAX_OPERATIONS, read_pickle
from tests.formats.building import (
    BytesSource,
    FakeStorage,
    FakeTensor,
    Module,
    TorchFile,
    archive,
    safetensors,
    spans_of,
    torch_pickle,
    with_header,
)

_SAFETENSORS = safetensors(
    {"a.weight": ("F32", [3, 4], 48), "a.bias": ("BF16", [4], 8), "n": ("I64", [], 8)}, {"format": "pt"}
)


def _torch_file() -> bytes:
    first, second, third = (FakeStorage("FloatStorage", key, 12) for key in "012")
    value = {
        "state_dict": {"a.weight": FakeTensor(first, (3, 4)), "tied": FakeTensor(first, (3, 4))},
        "optimizer": {"state": {0: {"exp_avg": FakeTensor(second, (3, 2), offset=6)}}},
        "model": Module({"bias": FakeTensor(third, (12,), parameter=True)}),
    }
    return TorchFile(value, [first, second, third]).build()


_TORCH = _torch_file()
_PICKLE = torch_pickle({"w": FakeTensor(FakeStorage("FloatStorage", "0", 12), (3, 4)), "n": [1, {"x": (2, "y")}]}, 4)


@st.composite
def _mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """A few bytes changed, put in, or taken out."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(data) - 1)))
        taken = draw(st.integers(0, 9))
        data[start : start + taken] = draw(st.binary(max_size=9))
    return bytes(data)


def _check(data: bytes) -> None:
    started = time.process_time()
    spans_of(data)
    assert time.process_time() - started < 5


@given(_mutated(_SAFETENSORS))
def test_a_changed_safetensors_file_gives_sound_spans_or_none(data: bytes) -> None:
    _check(data)


@given(_mutated(_TORCH))
def test_a_changed_torch_archive_gives_sound_spans_or_none(data: bytes) -> None:
    _check(data)


@given(_mutated(_PICKLE))
@example(_PICKLE)
def test_a_changed_pickle_gives_sound_spans_or_none(data: bytes) -> None:
    _check(archive({"archive/data.pkl": data, "archive/data/0": bytes(48)}))


_OPCODES = st.sampled_from(sorted(operation.code.encode("latin-1") for operation in pickletools.opcodes))


@given(st.lists(st.one_of(_OPCODES, st.binary(max_size=6), st.just(_PICKLE[2:-1])), max_size=60))
def test_any_string_of_operations_gives_sound_spans_or_none(operations: list[bytes]) -> None:
    data = b"\x80\x04" + b"".join(operations) + b"."
    _check(archive({"archive/data.pkl": data, "archive/data/0": bytes(48)}))


@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\x03\x04", b"\x20" + bytes(7) + b"{"]))
def test_any_bytes_give_sound_spans_or_none(data: bytes, head: bytes) -> None:
    _check(head + data)


@settings(max_examples=30)
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.binary(max_size=9)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(st.text(max_size=4), inner, max_size=4),
            st.tuples(inner, inner, inner),
            st.frozensets(st.integers(), max_size=3),
        ),
    ),
    st.integers(0, pickle.HIGHEST_PROTOCOL),
)
def test_a_pickle_of_any_plain_value_is_followed_to_its_end(value: object, protocol: int) -> None:
    assert read_pickle(pickle.dumps(value, protocol)).tensors == []


_COUNT = 60_000
_HOSTILE: dict[str, bytes] = {
    "lists in lists": b"]" * _COUNT + b"a" * (_COUNT - 1) + b".",
    "tuples in tuples": b")" + b"\x85" * _COUNT + b".",
    "a tuple of itself twice, again and again": b")" + b"2\x86" * _COUNT + b".",
    "a list of itself": b"]q\x00" + b"(" + b"h\x00" * _COUNT + b"e.",
    "one long tuple for many calls": b"(" + b")" * _COUNT + b"tq\x00" + b"h\x00h\x00R0" * (_COUNT // 4) + b"0h\x00.",
    "marks without end": b"(" * _COUNT + b".",
    "many dicts": b"}" * _COUNT + b".",
    "state upon state": b"cx\ny\n)\x81" + b"}b" * _COUNT + b".",
    "long names in long names": b"(X\xc8\x00\x00\x00" + b"n" * 200 + b"q\x00" + b"}" * 20_000 + b"h\x00}s" * 9 + b".",
}


@pytest.mark.parametrize("data", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_a_hostile_pickle_costs_no_more_than_its_share(data: bytes) -> None:
    file = archive({"archive/data.pkl": data, "archive/data/0": bytes(48)})
    started = time.process_time()
    tracemalloc.start()
    try:
        find_spans("model.bin", BytesSource(file))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 150 * len(data) + (4 << 20)
    assert time.process_time() - started < 10


def test_a_pickle_of_too_many_operations_is_left_unread() -> None:
    with pytest.raises(DoubtError, match="too many operations"):
        read_pickle(b"N0" * (MAX_OPERATIONS // 2) + b"N.")


def test_nothing_that_a_pickle_names_is_called() -> None:
    called = b"cos\n_exit\n(K\x01tR."
    assert spans_of(archive({"archive/data.pkl": called})) == []


@pytest.mark.slow
def test_the_longest_header_of_the_shortest_tensors_stays_within_the_budget() -> None:
    entries = [b'"%d":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}' % (n, n, n + 1) for n in range(99_999)]
    file = with_header(b"{" + b",".join(entries) + b"}", 100_000)
    del entries
    tracemalloc.start()
    try:
        assert len(find_spans("model.safetensors", BytesSource(file))) == 99_999
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100 << 20
    deep = with_header(b'{"t":' + b"[" * 20_000_000, 8)
    tracemalloc.start()
    try:
        assert find_spans("model.safetensors", BytesSource(deep)) == []
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < len(deep) + (10 << 20)
