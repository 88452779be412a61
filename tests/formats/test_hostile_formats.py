"""Whatever a GGUF, NumPy, ONNX or HDF5 file's bytes are: no error, no wrong span, no long wait, no great memory."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casmodels.formats import find_spans
from casmodels.formats.cursor import MAX_STEPS
from tests.formats.arrays import as_gguf, as_hdf5, as_npz, as_onnx
from tests.formats.building import BytesSource, archive, spans_of
from tests.formats.protobuf import bytes_field, model, number_field, varint

_ARRAYS = {
    "a.weight": np.ones((3, 4), "<f4"),
    "a.bias": np.ones(4, "<f2"),
    **{f"n{n}": np.int64([n]) for n in range(9)},
}
_FILES = {
    "gguf": as_gguf(_ARRAYS),
    "npz": as_npz(_ARRAYS),
    "onnx": as_onnx(_ARRAYS),
    "hdf5": as_hdf5(_ARRAYS),
    "hdf5 with a heap": as_hdf5(_ARRAYS, "latest"),
    "keras": archive({"model.weights.h5": as_hdf5(_ARRAYS, "earliest", track_order=True)}),
}


def test_the_files_that_are_changed_are_sound() -> None:
    assert {name: len(spans_of(data)) for name, data in _FILES.items()} == dict.fromkeys(_FILES, len(_ARRAYS))


def _check(data: bytes) -> None:
    started = time.process_time()
    spans_of(data)
    assert time.process_time() - started < 5


@st.composite
def _changes(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Bytes changed, put in or taken out, where headers are more often than not."""
    places = st.one_of(st.integers(0, 200), st.integers(0, 1 << 16))
    numbers = st.one_of(
        st.integers(0, (1 << 64) - 1).map(lambda number: number.to_bytes(8, "little")),
        st.sampled_from([b"\xff" * 8, bytes(8), b"\xff", b"\x7f", b"\x00"]),
        st.binary(max_size=9),
    )
    edits = draw(st.lists(st.tuples(places, st.one_of(st.none(), st.integers(0, 9)), numbers), min_size=1, max_size=4))

    def change(original: bytes) -> bytes:
        data = bytearray(original)
        for place, taken, put in edits:
            start = place % max(1, len(data))
            data[start : start + (len(put) if taken is None else taken)] = put
        return bytes(data)

    return change


@pytest.mark.parametrize("name", _FILES)
@settings(max_examples=150)
@given(change=_changes())
def test_a_changed_file_gives_sound_spans_or_none(name: str, change: Callable[[bytes], bytes]) -> None:
    _check(change(_FILES[name]))


_HEADS = [
    b"GGUF" + struct.pack("<IQQ", 3, 1, 1),
    b"GGUF",
    b"\x93NUMPY\x01\x00",
    b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (",
    b"\x08\x03\x3a",
    b"\x08",
    b"\x89HDF\r\n\x1a\n",
    b"\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x08\x08\x00",
    b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00" + bytes(8),
]


@given(st.sampled_from(_HEADS), st.binary(max_size=300))
def test_any_bytes_after_a_magic_give_sound_spans_or_none(head: bytes, data: bytes) -> None:
    _check(head + data)


def _text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _superblock(root: int) -> bytes:
    return b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00" + struct.pack("<4Q", 0, (1 << 64) - 1, 1 << 20, root) + bytes(52)


def _self_continued() -> bytes:
    """An object header whose continuation is itself, twice."""
    place = struct.pack("<QQ", 200, 60)
    message = struct.pack("<BHB", 0x10, 16, 0) + place
    block = (b"OCHK" + message * 2).ljust(56, b"\0") + bytes(4)
    return _superblock(96) + (b"OHDR\x02\x00" + bytes([40]) + message * 2).ljust(104, b"\0") + block


def _self_linked_tree() -> bytes:
    """A group's B-tree all of whose children are nodes of the level below, each with all the same children."""
    header = struct.pack("<BxHIII", 1, 1, 1, 24, 0) + struct.pack("<HHB3x", 0x11, 16, 0)
    start = 96 + len(header) + 16
    heap = start
    nodes = heap + 32 + 64
    node_bytes = 24 + 16 * 64
    data = _superblock(96) + header + struct.pack("<QQ", nodes, heap)
    data += b"HEAP" + bytes(4) + struct.pack("<QQQ", 64, 0, heap + 32) + bytes(64)
    for level in range(12, -1, -1):
        child = nodes + (13 - level) * node_bytes
        data += b"TREE" + bytes([0, level]) + struct.pack("<H16x", 64) + struct.pack("<QQ", 0, child) * 64
    return data + b"SNOD\x01\x00" + struct.pack("<H", 0) + bytes(100)


def _long_names() -> bytes:
    """Very many symbols of the same very long name."""
    header = struct.pack("<BxHIII", 1, 1, 1, 24, 0) + struct.pack("<HHB3x", 0x11, 16, 0)
    tree = 96 + len(header) + 16
    count = 60_000
    table = tree + 24 + 16
    heap = table + 8 + 40 * count
    data = _superblock(96) + header + struct.pack("<QQ", tree, heap)
    data += b"TREE" + bytes([0, 0]) + struct.pack("<H16x", 1) + struct.pack("<QQ", 0, table)
    data += b"SNOD\x01\x00" + struct.pack("<H", count) + struct.pack("<QQI20x", 0, 1, 0) * count
    return data + b"HEAP" + bytes(4) + struct.pack("<QQQ", 1 << 20, 0, heap + 32) + b"x" * ((1 << 20) - 1) + b"\0"


def _metadata(count: int, value: bytes) -> bytes:
    """A GGUF file of one array that claims to be far longer than it is."""
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + _text(b"k") + struct.pack("<I", 9) + value * count


def _empty_tensors(count: int) -> bytes:
    infos = b"".join(_text(b"%d" % n) + struct.pack("<IIQ", 0, 0, 32 * n) for n in range(count))
    return b"GGUF" + struct.pack("<IQQ", 3, count, 0) + infos + bytes(32 * count + 32)


def _places(count: int) -> bytes:
    entry = bytes_field(1, b"location")
    return model(*(number_field(2, 2) + bytes_field(13, entry + bytes_field(2, b"%d" % n)) for n in range(count)))


_HOSTILE: dict[str, Callable[[int], bytes]] = {
    "very many empty words": lambda n: _metadata(1, struct.pack("<IQ", 8, 1 << 60)) + bytes(8 * n),
    "very many empty arrays": lambda n: _metadata(1, struct.pack("<IQ", 9, 1 << 60)) + bytes(12 * n),
    "very many tensors": lambda n: _empty_tensors(n // 6),
    "very many initialisers": lambda n: model(*[bytes_field(9, b"x") + number_field(2, 2)] * (n // 6)),
    "very many fields": lambda n: number_field(1, 3) + bytes_field(7, number_field(2, 1) * n),
    "very many places": lambda n: _places(n // 100),
    "long numbers": lambda n: number_field(1, 3) + bytes_field(7, (b"\x88" + b"\x80" * 8 + b"\x00") * (n // 10)),
    "a header that continues itself": lambda _: _self_continued(),
    "a B-tree that joins again": lambda _: _self_linked_tree(),
    "very long names": lambda _: _long_names(),
    "an archive of very many files": lambda n: archive({f"{n}.h5": _self_continued() for n in range(n // 1000)}),
    "an archive of very many arrays": lambda n: archive({f"{n}.npy": b"\x93NUMPY" for n in range(n // 100)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("build", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_a_hostile_file_costs_no_more_than_its_share(build: Callable[[int], bytes]) -> None:
    data = build(1_200_000)
    started = time.process_time()
    find_spans("model", BytesSource(data))
    assert time.process_time() - started < 15
    data = build(60_000)  # as keeping account of memory takes ten times as long
    tracemalloc.start()
    try:
        find_spans("model", BytesSource(data))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 40 * len(data) + (24 << 20)


def test_a_header_of_too_many_parts_is_left_unread() -> None:
    source = BytesSource(number_field(1, 3) + bytes_field(7, varint(2 << 3) + b"\x01") + bytes(8))
    assert find_spans("model", source) == []
    many = number_field(1, 3) + bytes_field(7, number_field(2, 1) * (MAX_STEPS // 2 + 1))
    assert find_spans("model", BytesSource(many)) == []
