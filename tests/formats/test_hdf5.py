"""The spans of HDF5 files in all the ways in which groups are written."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest

from casmodels.formats import find_spans
from tests.formats.arrays import as_hdf5, bytes_of, described, some_arrays
from tests.formats.building import BytesSource, safetensors, spans_of

_LAYOUTS = [("earliest", False), ("earliest", True), ("latest", False), ("latest", True), ("v110", False)]


def _built(fill: Callable[[Any], object], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        fill(file)
    return buffer.getvalue()


def _places(data: bytes) -> list[tuple[int, int]]:
    """Where the library itself says that contiguous datasets lie."""
    places: list[tuple[int, int]] = []

    def visit(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.id.get_offset() is not None:
            places.append((item.id.get_offset(), item.id.get_storage_size()))

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(visit)
    return sorted(places)


@pytest.mark.parametrize(("libver", "track_order"), _LAYOUTS)
@pytest.mark.parametrize("count", [1, 9, 40, 700])
def test_every_dataset_of_a_group_is_found(libver: str, track_order: bool, count: int) -> None:
    names = [f"layer {number:03} {'x' * (number % 50)}" for number in range(count)]

    def fill(file: Any) -> None:
        group = file.create_group("model")
        for number, name in enumerate(names):
            group.create_dataset(name, data=np.full((2, 3), number, "<f4"))

    data = _built(fill, libver=libver, track_order=track_order)
    spans = spans_of(data)
    assert [(span.offset, span.length) for span in spans] == _places(data)
    found = {span.key: bytes_of(data, span) for span in spans}
    for number, name in enumerate(names):
        [other] = spans_of(safetensors({f"model.{name}": ("F16", [2, 3], 12)}))
        assert found[other.key] == np.full((2, 3), number, "<f4").tobytes()


@pytest.mark.parametrize(("libver", "track_order"), _LAYOUTS)
def test_datasets_in_groups_in_groups_are_found(libver: str, track_order: bool) -> None:
    arrays = some_arrays()
    assert described(as_hdf5(arrays, libver, track_order)) == described(as_hdf5(arrays))


@pytest.mark.parametrize(
    ("dtype", "item_width"),
    [("i1", 1), ("u1", 1), ("?", 1), ("f2", 2), ("V2", 2), ("<u4", 4), ("<f4", 4), ("i8", 8), ("f8", 8)],
)
def test_every_type_has_its_width(dtype: str, item_width: int) -> None:
    data = _built(lambda file: file.create_dataset("t", data=np.zeros(5, dtype)))
    [span] = spans_of(data)
    assert (span.length, span.item_width, span.block_bytes) == (5 * item_width, item_width, item_width)
    assert span.key


def test_a_big_endian_dataset_has_no_key() -> None:
    data = _built(lambda file: file.create_dataset("t", data=np.ones(5, ">f4")))
    [span] = spans_of(data)
    assert (span.length, span.item_width, span.key) == (20, 4, b"")


def _fill_with_others(file: Any) -> None:
    numbers = np.arange(4000, dtype="<f4")
    file.create_dataset("chunked", data=numbers, chunks=(100,))
    file.create_dataset("compressed", data=numbers, compression="gzip")
    file.create_dataset("text", data=np.array([b"abc", b"d"]))
    file.create_dataset("texts", data=["x", "yy"], dtype=h5py.string_dtype())
    file.create_dataset("records", data=np.zeros(3, [("a", "<f4"), ("b", "<i2")]))
    file.create_dataset("empty", data=h5py.Empty("f4"))
    file.create_dataset("nothing", shape=(0, 3), dtype="<f4")
    file.create_dataset("unwritten", shape=(9, 3), dtype="<f4")
    file["type"] = np.dtype("<f4")
    file.create_dataset("of that type", data=numbers, dtype=file["type"])
    file["soft"] = h5py.SoftLink("/kept")
    file["elsewhere"] = h5py.ExternalLink("other.h5", "/x")
    file.attrs["many"] = "words " * 1000
    file.create_dataset("kept", data=numbers)
    file["hard"] = file["kept"]
    file.create_group("loop")["back"] = file["/"]


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_what_is_no_contiguous_array_of_numbers_has_no_span(libver: str) -> None:
    data = _built(_fill_with_others, libver=libver)
    [span] = spans_of(data)
    assert bytes_of(data, span) == np.arange(4000, dtype="<f4").tobytes()


def test_compact_and_external_datasets_have_no_span(tmp_path: Any) -> None:
    def fill(file: Any) -> None:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((3,))
        h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F32LE, space, properties)
        outside = [(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("outside", shape=(3,), dtype="<f4", external=outside)[...] = 1

    assert spans_of(_built(fill)) == []


def test_many_attributes_and_a_name_in_another_script_are_no_obstacle() -> None:
    def fill(file: Any) -> None:
        dataset = file.create_dataset("gewicht ü/größe", data=np.ones(3, "<f4"))
        for number in range(200):
            dataset.attrs[f"attribute {number}"] = "x" * 100

    for libver in ("earliest", "latest"):
        [span] = spans_of(_built(fill, libver=libver))
        [other] = spans_of(safetensors({"gewicht ü.größe": ("F32", [3], 12)}))
        assert span.key == other.key


def test_a_name_that_is_too_long_is_no_key() -> None:
    [span] = spans_of(_built(lambda file: file.create_dataset("x" * 300, data=np.ones(3, "<f4"))))
    assert span.key == b""


def test_a_file_with_a_user_block_or_short_addresses_is_opaque() -> None:
    def fill(file: Any) -> None:
        file.create_dataset("t", data=np.ones(3, "<f4"))

    data = _built(fill)
    assert len(spans_of(data)) == 1
    assert spans_of(data[:13] + b"\x04" + data[14:]) == []
    assert spans_of(data[:24] + b"\x01" + data[25:]) == []
    assert spans_of(data[:8] + b"\x09" + data[9:]) == []


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_a_file_that_is_cut_short_is_opaque_or_has_sound_spans(libver: str) -> None:
    data = as_hdf5({"a": np.ones(3, "<f4"), "b.c": np.ones(5, "<f2")}, libver)
    assert len(spans_of(data)) == 2
    for kept in range(0, len(data), 9):
        assert len(list(find_spans("model.h5", BytesSource(data[:kept])))) <= 2
