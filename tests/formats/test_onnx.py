"""The spans of ONNX models, and that nothing a field claims is taken on trust."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from casmodels.formats.layout import DoubtError
from casmodels.formats.onnx import _TYPES, onnx_layout
from tests.formats.arrays import as_onnx, bytes_of, onnx_model, some_arrays
from tests.formats.building import BytesSource, safetensors, spans_of
from tests.formats.protobuf import bytes_field, model, number_field, tensor, varint


@pytest.mark.parametrize(
    ("kind", "shape", "length", "item_width", "block_bytes"),
    [
        *((kind, (3,), 3, 1, 1) for kind in (2, 3, 9, 17, 18, 19, 20, 24)),
        *((kind, (3,), 6, 2, 2) for kind in (4, 5, 10, 16)),
        *((kind, (3,), 12, 4, 4) for kind in (1, 6, 12)),
        *((kind, (3,), 24, 8, 8) for kind in (7, 11, 13)),
        (14, (3,), 24, 4, 8),
        (15, (3,), 48, 8, 16),
        *((kind, (3,), 2, 0, 1) for kind in (21, 22, 23)),
        *((kind, (5,), 2, 0, 1) for kind in (25, 26)),
    ],
)
def test_every_type_has_its_width_and_block(
    kind: int, shape: tuple[int, ...], length: int, item_width: int, block_bytes: int
) -> None:
    [span] = spans_of(model(tensor(shape, kind, bytes(length))))
    assert (span.length, span.item_width, span.block_bytes) == (length, item_width, block_bytes)


def test_the_types_are_those_of_the_reference_library() -> None:
    from onnx import TensorProto, helper

    bits = {"uint4": 4, "int4": 4, "float4e2m1": 4, "uint2": 2, "int2": 2}
    for kind in set(TensorProto.DataType.values()) & set(_TYPES):
        name = TensorProto.DataType.Name(kind).lower()
        assert _TYPES[kind].bits == bits.get(name, 8 * helper.tensor_dtype_to_np_dtype(kind).itemsize)


@pytest.mark.parametrize("kind", [0, 8, 99])
def test_a_tensor_of_no_known_type_has_no_span_and_the_others_have(kind: int) -> None:
    assert len(spans_of(model(tensor(kind=kind), tensor()))) == 1


def test_numbers_in_fields_of_their_own_type_are_spans_as_raw_ones_are() -> None:
    from onnx import TensorProto, helper

    built = onnx_model({})
    array = np.arange(12, dtype="<f4").reshape(3, 4)
    built.graph.initializer.append(helper.make_tensor("floats", TensorProto.FLOAT, (3, 4), array.ravel()))
    doubles = array.astype("<f8")
    built.graph.initializer.append(helper.make_tensor("doubles", TensorProto.DOUBLE, (3, 4), doubles.ravel()))
    built.graph.initializer.append(helper.make_tensor("integers", TensorProto.INT64, (3,), [1, 2, 3]))
    built.graph.initializer.append(helper.make_tensor("complex", TensorProto.COMPLEX64, (2,), [1j, 2j]))
    data = built.SerializeToString()
    assert [bytes_of(data, span) for span in spans_of(data)] == [array.tobytes(), doubles.tobytes()]


def test_a_key_is_that_of_the_same_tensor_in_a_safetensors_file() -> None:
    [span] = spans_of(model(tensor((1, 2), name=b"a.weight")))
    [other] = spans_of(safetensors({"a.weight": ("F32", [1, 2], 8)}))
    assert span.key == other.key


def test_dimensions_may_be_packed() -> None:
    packed = (
        bytes_field(1, varint(1) + varint(2)) + number_field(2, 1) + bytes_field(9, bytes(8)) + bytes_field(8, b"t")
    )
    assert spans_of(model(packed))[0].key == spans_of(model(tensor((1, 2))))[0].key


def test_unknown_fields_are_passed_over() -> None:
    odd = number_field(99, 1 << 63) + bytes_field(98, b"x" * 300) + varint(97 << 3 | 1) + bytes(8)
    odd += varint(96 << 3 | 5) + bytes(4)
    assert len(spans_of(model(tensor(more=odd), graph=odd) + odd)) == 1


def test_tensors_in_other_files_are_told_of() -> None:
    def entry(key: bytes, value: bytes) -> bytes:
        return bytes_field(13, bytes_field(1, key) + bytes_field(2, value))

    def outside(name: bytes, *entries: bytes) -> bytes:
        return number_field(1, 2) + number_field(2, 1) + bytes_field(8, name) + b"".join(entries) + number_field(14, 1)

    layout = onnx_layout(
        BytesSource(
            model(
                outside(b"a", entry(b"location", b"x.data"), entry(b"offset", b"4096"), entry(b"length", b"8")),
                outside(b"b", entry(b"location", b"x.data")),
                outside(b"tied", entry(b"location", b"x.data")),
                outside(b"c", entry(b"location", b"y.data"), entry(b"checksum", b"0")),
                outside(b"d"),
                tensor(),
            )
        )
    )
    assert len(layout.spans) == 1
    told = {name: [(span.offset, span.length) for span in spans] for name, spans in layout.external.items()}
    assert told == {"x.data": [(4096, 8), (0, 8)], "y.data": [(0, 8)]}
    for wrong in (entry(b"offset", b"-4"), entry(b"length", b"7"), entry(b"offset", b"x"), entry(b"offset", b"9" * 99)):
        with pytest.raises((DoubtError, ValueError)):
            onnx_layout(BytesSource(model(outside(b"a", entry(b"location", b"x.data"), wrong))))


_LIES: dict[str, bytes] = {
    "another length": model(tensor((3,))),
    "huge dimensions": model(tensor((1 << 62, 1 << 62))),
    "negative dimensions": model(tensor(((1 << 64) - 1,))),
    "many dimensions": model(tensor((2, *[1] * 64))),
    "numbers twice": model(tensor(more=bytes_field(9, bytes(8)))),
    "two graphs": model(tensor()) + bytes_field(7, b""),
    "no version": b"\x08\x00" + model(tensor(), version=b""),
    "two versions": number_field(1, 3) + model(tensor()),
    "no graph": number_field(1, 8) + bytes_field(2, b"producer"),
    "longer than the file": model(tensor())[:-1],
    "longer than the graph": number_field(1, 3) + bytes_field(7, varint(5 << 3 | 2) + varint(9) + bytes(2)) + bytes(7),
    "a group": model(tensor(more=varint(7 << 3 | 3))),
    "field zero": model(tensor(more=b"\x00\x00")),
    "an endless number": number_field(1, 3) + b"\xff" * 40,
    "something after it": model(tensor()) + b"\x07",
    "a long name": model(tensor(name=b"t" * 5000)),
}


def test_the_model_that_the_lies_are_made_of_is_sound() -> None:
    assert len(spans_of(model(tensor()))) == 1


@pytest.mark.parametrize("data", _LIES.values(), ids=_LIES.keys())
def test_a_model_that_lies_is_opaque(data: bytes) -> None:
    assert spans_of(data) == []


def test_a_model_of_the_reference_library_that_is_cut_short_is_opaque() -> None:
    arrays: dict[str, Any] = {"t": some_arrays()["layer.0.bias"]}
    whole = as_onnx(arrays)
    assert len(spans_of(whole)) == 1
    assert not any(spans_of(whole[:kept]) for kept in range(0, len(whole) - 40, 7))
