"""The spans of safetensors files, and that nothing a header claims is taken on trust."""

from __future__ import annotations

import json

import pytest

from casmodels.formats import find_spans
from tests.formats.building import BytesSource, safetensors, spans_of, with_header


@pytest.mark.parametrize(
    ("dtype", "shape", "length", "item_width", "block_bytes"),
    [
        ("BOOL", [3], 3, 1, 1),
        ("U8", [3], 3, 1, 1),
        ("I8", [3], 3, 1, 1),
        ("F8_E4M3", [3], 3, 1, 1),
        ("F8_E5M2", [3], 3, 1, 1),
        ("F8_E8M0", [3], 3, 1, 1),
        ("F8_E4M3FNUZ", [3], 3, 1, 1),
        ("F8_E5M2FNUZ", [3], 3, 1, 1),
        ("I16", [3], 6, 2, 2),
        ("U16", [3], 6, 2, 2),
        ("F16", [3], 6, 2, 2),
        ("BF16", [3], 6, 2, 2),
        ("I32", [3], 12, 4, 4),
        ("U32", [3], 12, 4, 4),
        ("F32", [3], 12, 4, 4),
        ("I64", [3], 24, 8, 8),
        ("U64", [3], 24, 8, 8),
        ("F64", [3], 24, 8, 8),
        ("C64", [3], 24, 4, 8),
        ("F4", [3, 2], 3, 0, 1),
        ("I4", [3, 2], 3, 0, 1),
        ("U4", [3, 2], 3, 0, 1),
        ("F6_E2M3", [4], 3, 0, 3),
        ("F6_E3M2", [2, 4], 6, 0, 3),
    ],
)
def test_every_type_has_its_width_and_block(
    dtype: str, shape: list[int], length: int, item_width: int, block_bytes: int
) -> None:
    [span] = spans_of(safetensors({"t": (dtype, shape, length)}))
    assert (span.length, span.item_width, span.block_bytes) == (length, item_width, block_bytes)


def test_spans_are_where_the_header_says_in_the_order_of_the_file() -> None:
    header = {
        "late": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
        "early": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
    }
    data = with_header(json.dumps(header).encode(), 24)
    start = len(data) - 24
    assert [(span.offset, span.length) for span in spans_of(data)] == [(start, 16), (start + 16, 8)]


def test_a_key_depends_on_name_and_shape_alone() -> None:
    def key(name: str, dtype: str, shape: list[int], length: int) -> bytes:
        [span] = spans_of(safetensors({"other": ("U8", [0], 0), name: (dtype, shape, length)}))
        return span.key

    first = key("a.weight", "F32", [2, 3], 24)
    assert key("a.weight", "BF16", [2, 3], 12) == first
    assert len({first, key("a.bias", "F32", [2, 3], 24), key("a.weight", "F32", [3, 2], 24)}) == 3
    assert key("1", "U8", [1], 1) != key("", "U8", [1, 1], 1)


def test_a_tensor_without_dimensions_is_one_element_and_one_without_elements_is_no_span() -> None:
    [span] = spans_of(safetensors({"scalar": ("F32", [], 4), "nothing": ("F32", [0, 7], 0)}))
    assert span.length == 4


@pytest.mark.parametrize(
    "metadata",
    [{}, {"format": "pt"}, {"a": '}{"\\\\"}', "ünï": "{\n"}],
)
def test_metadata_may_hold_any_text(metadata: dict[str, str]) -> None:
    assert len(spans_of(safetensors({"t": ("F32", [2], 8)}, metadata))) == 1


def test_names_may_be_escaped_and_half_a_surrogate() -> None:
    names = ["ünï", 'quo"te', "{}", "\ud800", "back\\slash"]
    spans = spans_of(safetensors({name: ("F32", [2], 8) for name in names}))
    assert len({span.key for span in spans}) == len(names)


@pytest.mark.parametrize("header", [b"{}", b"{ }  ", b'{"__metadata__":{"format":"pt"}}'])
def test_a_file_without_tensors_has_no_spans(header: bytes) -> None:
    assert spans_of(with_header(header)) == []


def _entry(dtype: object = "F32", shape: object = (2,), data_offsets: object = (0, 8), **more: object) -> object:
    return {"dtype": dtype, "shape": shape, "data_offsets": data_offsets, **more}


_SOUND = b'{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
_SECOND = b'{"t":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}'
_LIES: dict[str, bytes] = {
    "past the end": json.dumps({"t": _entry(shape=[3], data_offsets=[0, 12])}).encode(),
    "overlap": json.dumps({"t": _entry(), "u": _entry(shape=[1], data_offsets=[4, 8])}).encode(),
    "the same bytes twice": json.dumps({"t": _entry(), "u": _entry()}).encode(),
    "longer than its shape": json.dumps({"t": _entry(shape=[1])}).encode(),
    "backwards": json.dumps({"t": _entry(data_offsets=[8, 0])}).encode(),
    "a negative offset": json.dumps({"t": _entry(data_offsets=[-8, 0])}).encode(),
    "a negative size": json.dumps({"t": _entry(shape=[-2, -1])}).encode(),
    "floats": json.dumps({"t": _entry(data_offsets=[0.0, 8.0])}).encode(),
    "a float as size": json.dumps({"t": _entry(shape=[2.0])}).encode(),
    "true for one": json.dumps({"t": _entry(shape=[2, True])}).encode(),
    "sizes in a string": json.dumps({"t": _entry(shape="2")}).encode(),
    "three offsets": json.dumps({"t": _entry(data_offsets=[0, 8, 8])}).encode(),
    "huge numbers": json.dumps({"t": _entry(shape=[2, 1 << 70, 0], data_offsets=[0, 0])}).encode(),
    "digits without end": _SOUND.replace(b"8]", b"8" * 4000 + b"]"),
    "unknown type": json.dumps({"t": _entry(dtype="F7")}).encode(),
    "a list as type": json.dumps({"t": _entry(dtype=["F32"])}).encode(),
    "part of a byte": json.dumps({"t": _entry(dtype="F4", shape=[3], data_offsets=[0, 1])}).encode(),
    "another field": json.dumps({"t": _entry(zip=1)}).encode(),
    "a field missing": b'{"t":{"dtype":"F32","shape":[2]}}',
    "a field twice": _SOUND.replace(b'"shape":[2]', b'"shape":[2],"shape":[2]'),
    "a tensor twice": _SOUND[:-1] + b"," + _SECOND[1:],
    "a tensor twice, once escaped": _SOUND[:-1] + b"," + _SECOND[1:].replace(b'"t"', b'"\\u0074"'),
    "metadata twice": b'{"__metadata__":{},"__metadata__":{},' + _SOUND[1:],
    "nesting": b'{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":{}}}',
    "deep nesting": b'{"t":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep nesting in a field": _SOUND.replace(b"[2]", b"[" * 1500 + b"2" + b"]" * 1500),
    "something after it": _SOUND + b"x",
    "a second object": _SOUND + _SOUND,
    "no end": _SOUND[:-1],
    "a comma too many": _SOUND[:-1] + b",}",
    "no object": b'["t"]',
    "no JSON": b"{t}",
    "no UTF-8": _SOUND.replace(b'"t"', b'"\xff"'),
    "a raw control character": _SOUND.replace(b'"t"', b'"\n"'),
    "NaN": _SOUND.replace(b"[2]", b"[NaN]"),
    "nothing but a brace": b"{",
}


@pytest.mark.parametrize("header", _LIES.values(), ids=_LIES.keys())
def test_a_header_that_lies_makes_the_file_opaque(header: bytes) -> None:
    assert len(spans_of(with_header(_SOUND, 8))) == 1
    assert spans_of(with_header(header, 8)) == []


def test_a_hole_between_tensors_is_no_lie() -> None:
    header = {"a": _entry(), "b": _entry(data_offsets=[16, 24])}
    assert len(spans_of(with_header(json.dumps(header).encode(), 24))) == 2


def test_a_header_beyond_the_limits_is_not_even_read() -> None:
    for length, size in [(100_000_001, 1 << 40), (1 << 63, 1 << 40), (1000, 500), (1, 500), (0, 500)]:
        source = BytesSource(length.to_bytes(8, "little") + b"{", claimed_bytes=size)
        assert find_spans("model.safetensors", source) == []
        assert source.read_bytes < 100


@pytest.mark.parametrize("size", range(12))
def test_a_file_of_a_few_bytes_is_opaque(size: int) -> None:
    assert spans_of(with_header(b"{}", 8)[:size]) == []


def test_a_file_cut_short_is_opaque() -> None:
    data = safetensors({"t": ("F32", [2], 8)})
    assert all(spans_of(data[:size]) == [] for size in range(len(data)))


def test_the_name_decides_nothing() -> None:
    source = BytesSource(safetensors({"t": ("F32", [2], 8)}))
    assert len(find_spans("notes.txt", source)) == 1
    assert find_spans("model.safetensors", BytesSource(b"Dear diary, today I trained a model.")) == []


def test_a_file_that_cannot_be_read_is_an_error() -> None:
    class Broken:
        size_bytes = 100

        def read_at(self, offset: int, length: int) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        find_spans("model.safetensors", Broken())
