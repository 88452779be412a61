"""The spans of ``.npy`` and ``.npz`` files."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest

from casmodels.formats import find_spans
from casstore.chunkers.spans import Span
from tests.formats.arrays import as_npz, bytes_of
from tests.formats.building import BytesSource, archive, safetensors, spans_of, state_dict


def _npy(array: np.ndarray[Any, Any], version: tuple[int, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version)
    return buffer.getvalue()


def _key(name: str, *shape: int) -> bytes:
    [span] = spans_of(safetensors({name: ("U8", shape, int(np.prod(shape)))}))
    return span.key


def _named(name: str, data: bytes) -> list[Span]:
    return list(find_spans(name, BytesSource(data)))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 4)])
def test_an_array_is_a_span_of_its_bytes(version: tuple[int, int], shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape)), dtype="<f4").reshape(shape)
    data = _npy(array, version)
    [span] = _named("some/where/a.weight.npy", data)
    assert bytes_of(data, span) == array.tobytes()
    assert span.key == _key("a.weight", *shape)


@pytest.mark.parametrize(
    ("dtype", "item_width", "block_bytes"),
    [
        ("?", 1, 1),
        ("i1", 1, 1),
        ("u2", 2, 2),
        ("f2", 2, 2),
        ("V2", 2, 2),
        ("i4", 4, 4),
        ("f8", 8, 8),
        ("c8", 4, 8),
        ("c16", 8, 16),
    ],
)
def test_every_type_has_its_width_and_block(dtype: str, item_width: int, block_bytes: int) -> None:
    [span] = spans_of(_npy(np.zeros(3, dtype)))
    assert (span.length, span.item_width, span.block_bytes) == (3 * block_bytes, item_width, block_bytes)


@pytest.mark.parametrize("dtype", ["U3", "S3", "M8[s]", [("a", "<f4"), ("b", "<i2")], "f16"])
def test_what_is_no_number_has_no_span(dtype: Any) -> None:
    assert spans_of(_npy(np.zeros(3, dtype))) == []


def test_objects_and_arrays_without_elements_have_no_span() -> None:
    assert spans_of(_npy(np.array([None, {}], dtype=object))) == []
    assert spans_of(_npy(np.zeros((3, 0)))) == []


def test_a_big_endian_array_has_no_key() -> None:
    [span] = _named("a.npy", _npy(np.ones((3, 4), ">f4")))
    assert (span.length, span.item_width, span.key) == (48, 4, b"")


def test_a_transposed_array_has_the_key_of_a_transposed_tensor_of_torch() -> None:
    [span] = _named("a.weight.npy", _npy(np.asfortranarray(np.ones((3, 4), "<f4"))))
    file = state_dict(a__weight=(3, 4))
    file.value["a.weight"].stride = (1, 3)
    [other] = spans_of(file.build())
    assert span.key == other.key != _key("a.weight", 3, 4)


def test_uncompressed_members_are_spans_and_others_are_not() -> None:
    arrays = {"a.weight": np.ones((3, 4), "<f4"), "text": np.array(["x"]), "n": np.int64(3)}
    data = as_npz({name: np.asarray(array) for name, array in arrays.items()})
    assert [(span.length, span.key) for span in spans_of(data)] == [(48, _key("a.weight", 3, 4)), (8, _key("n"))]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.ones((30, 40), "<f4"))
    assert spans_of(buffer.getvalue()) == []


_HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"
_LIES = {
    "longer than the file": _HEADER.replace(b"2,", b"3,"),
    "a huge shape": _HEADER.replace(b"2,", b"9" * 19 + b", " + b"9" * 19),
    "digits without end": _HEADER.replace(b"2,", b"9" * 5000),
    "a negative size": _HEADER.replace(b"2,", b"-2,"),
    "a call": _HEADER.replace(b"False", b"print()"),
    "another field": _HEADER.replace(b"}", b"'x': 1}"),
    "many dimensions": _HEADER.replace(b"2,", b"2" + b", 1" * 70),
    "nothing": b"",
    "brackets without end": b"(" * 60_000,
}


def _with_header(header: bytes) -> bytes:
    return b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header + bytes(8)


def test_the_header_that_the_lies_are_made_of_is_sound() -> None:
    assert len(spans_of(_with_header(_HEADER))) == 1


@pytest.mark.parametrize("header", _LIES.values(), ids=_LIES.keys())
def test_a_header_that_lies_makes_a_file_opaque(header: bytes) -> None:
    assert spans_of(_with_header(header)) == []


def test_a_header_that_is_cut_short_or_of_another_version_makes_a_file_opaque() -> None:
    whole = _with_header(_HEADER)
    assert not any(spans_of(whole[:kept]) for kept in range(len(whole)))
    assert spans_of(whole.replace(b"\x02\x00", b"\x04\x00", 1)) == []


def test_an_archive_with_a_member_that_is_no_array_is_opaque() -> None:
    sound = _npy(np.ones(8, "<f4"))
    assert len(spans_of(archive({"a.npy": sound, "b.txt": b"text"}))) == 1
    assert spans_of(archive({"a.npy": sound, "b.npy": b"text"})) == []


def test_members_that_overlap_make_an_archive_opaque() -> None:
    inner = archive({"b.npy": _npy(np.ones(8, "<f4"))})
    stretch = inner[: inner.index(b"PK\x01\x02")]
    data = bytearray(archive({"a.npy": b"\x93NUMPY" + bytes(58) + stretch, "b.npy": _npy(np.ones(8, "<f4"))}))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as directory:
        second = directory.getinfo("b.npy").header_offset
    start = data.index(stretch)
    place = data.rindex(second.to_bytes(4, "little"))
    data[place : place + 4] = start.to_bytes(4, "little")
    assert spans_of(bytes(data)) == []
