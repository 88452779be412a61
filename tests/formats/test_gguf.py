"""The spans of GGUF files, and that nothing a header claims is taken on trust."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import pytest

from casmodels.formats.gguf import _BLOCKS, _PLAIN_BYTES
from tests.formats.arrays import as_gguf, some_arrays
from tests.formats.building import safetensors, spans_of


def _text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@dataclass
class GgufFile:
    """The parts of a GGUF file; each tensor is given as (name, dimensions with the fastest first, type, offset)."""

    tensors: list[tuple[bytes, list[int], int, int]] = field(default_factory=list)
    pairs: list[bytes] = field(default_factory=list)
    version: int = 3
    alignment: int = 32
    data_bytes: int = 0
    order: str = "<"

    def build(self) -> bytes:
        pack = lambda kind, *values: struct.pack(self.order + kind, *values)  # noqa: E731
        header = b"GGUF" + pack("IQQ", self.version, len(self.tensors), len(self.pairs)) + b"".join(self.pairs)
        for name, dimensions, kind, offset in self.tensors:
            header += pack("Q", len(name)) + name + pack("I", len(dimensions))
            header += pack(f"{len(dimensions)}Q", *dimensions) + pack("IQ", kind, offset)
        return header + bytes(-len(header) % self.alignment) + bytes(self.data_bytes)


def _described(file: GgufFile) -> list[tuple[int, int, int, int]]:
    data = file.build()
    start = len(data) - file.data_bytes
    return [(span.offset - start, span.length, span.item_width, span.block_bytes) for span in spans_of(data)]


def test_the_blocks_are_those_of_the_reference_library() -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    known = {kind.value: size for kind, size in GGML_QUANT_SIZES.items() if kind is not GGMLQuantizationType.Q8_1}
    ours = _BLOCKS | {kind: (1, width) for kind, width in _PLAIN_BYTES.items()}
    assert {kind: ours[kind] for kind in known} == known


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("kind", "dimensions", "length", "item_width", "block_bytes"),
    [
        (0, [3, 2], 24, 4, 4),
        (1, [3, 2], 12, 2, 2),
        (30, [3, 2], 12, 2, 2),
        (28, [3], 24, 8, 8),
        (24, [3], 3, 1, 1),
        (2, [64, 2], 72, 0, 18),
        (8, [64, 2], 136, 0, 34),
        (14, [256], 210, 0, 210),
        (39, [32], 17, 0, 17),
    ],
)
def test_every_type_has_its_width_and_block(
    version: int, kind: int, dimensions: list[int], length: int, item_width: int, block_bytes: int
) -> None:
    file = GgufFile([(b"t", dimensions, kind, 32)], version=version, data_bytes=32 + length)
    assert _described(file) == [(32, length, item_width, block_bytes)]


def test_a_key_has_the_dimensions_in_the_order_of_other_formats() -> None:
    [span] = spans_of(GgufFile([(b"a.weight", [3, 2], 0, 0)], data_bytes=24).build())
    [other] = spans_of(safetensors({"a.weight": ("BF16", [2, 3], 12)}))
    assert span.key == other.key


def test_quantised_tensors_of_the_reference_library_lie_where_it_says() -> None:
    import gguf

    arrays = some_arrays()
    names = ["layer.0.weight", "layer.1.weight"]
    blocks = {name: gguf.quants.quantize(arrays[name], gguf.GGMLQuantizationType.Q8_0) for name in names}
    data = as_gguf({})
    assert spans_of(data) == []
    file = GgufFile(data_bytes=0)
    for name in names:
        file.tensors.append((name.encode(), list(reversed(arrays[name].shape)), 8, file.data_bytes))
        file.data_bytes += -(-blocks[name].nbytes // 32) * 32
    assert [length for _, length, _, _ in _described(file)] == [blocks[name].nbytes for name in names]


def test_a_tensor_of_an_unknown_type_has_no_span_and_the_others_have() -> None:
    file = GgufFile([(b"new", [32], 99, 0), (b"old", [2], 0, 64)], data_bytes=72)
    assert _described(file) == [(64, 8, 4, 4)]


def test_metadata_is_passed_over() -> None:
    nested = struct.pack("<IIQ", 9, 9, 2) + 2 * (struct.pack("<IQ", 8, 2) + _text(b"x") + _text(b""))
    pairs = [
        *(
            _text(b"n%d" % kind) + struct.pack("<I", kind) + bytes(size)
            for kind, size in {0: 1, 6: 4, 7: 1, 12: 8}.items()
        ),
        _text(b"text") + struct.pack("<I", 8) + _text(b"long" * 50_000),
        _text(b"numbers") + struct.pack("<IIQ", 9, 5, 40_000) + bytes(160_000),
        _text(b"nested") + nested,
        _text(b"general.alignment") + struct.pack("<II", 4, 4096),
    ]
    file = GgufFile([(b"t", [2], 0, 4096)], pairs, alignment=4096, data_bytes=4104)
    assert _described(file) == [(4096, 8, 4, 4)]


def _alignment(value: int, kind: int = 4) -> bytes:
    return _text(b"general.alignment") + struct.pack("<II", kind, value)


_SOUND: dict[str, Any] = {"tensors": [(b"t", [2], 0, 0)], "data_bytes": 8}
_LIES: dict[str, dict[str, Any]] = {
    "version 1": {"version": 1},
    "version 4": {"version": 4},
    "big-endian": {"order": ">"},
    "past the end": {"tensors": [(b"t", [3], 0, 0)]},
    "an offset past the end": {"tensors": [(b"t", [2], 0, 1 << 63)]},
    "not aligned": {"tensors": [(b"t", [1], 0, 4)]},
    "overlap": {"tensors": [(b"t", [16], 0, 0), (b"u", [2], 0, 32)], "data_bytes": 64},
    "one name": {"tensors": [(b"t", [2], 0, 0), (b"t", [2], 0, 32)], "data_bytes": 64},
    "huge dimensions": {"tensors": [(b"t", [1 << 63, 1 << 63], 0, 0)]},
    "five dimensions": {"tensors": [(b"t", [2, 1, 1, 1, 1], 0, 0)]},
    "part of a block": {"tensors": [(b"t", [48], 8, 0)], "data_bytes": 51},
    "a block without a row": {"tensors": [(b"t", [], 8, 0)], "data_bytes": 34},
    "no alignment": {"pairs": [_alignment(0)]},
    "an odd alignment": {"pairs": [_alignment(12)]},
    "a huge alignment": {"pairs": [_alignment(1 << 31)]},
    "alignment twice": {"pairs": [_alignment(32), _alignment(32)]},
    "an alignment that is no number": {"pairs": [_alignment(0x3F800000, 6)]},
    "metadata of an unknown type": {"pairs": [_text(b"k") + struct.pack("<I", 13)]},
    "an array of an unknown type": {"pairs": [_text(b"k") + struct.pack("<IIQ", 9, 13, 1)]},
    "arrays in arrays": {"pairs": [_text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50]},
    "an array without end": {"pairs": [_text(b"k") + struct.pack("<IIQ", 9, 12, 1 << 61)]},
    "a text without end": {"pairs": [_text(b"k") + struct.pack("<IQ", 8, 1 << 63)]},
    "a long name": {"tensors": [(b"t" * 70_000, [2], 0, 0)]},
}


def test_the_file_that_the_lies_are_made_of_is_sound() -> None:
    assert len(spans_of(GgufFile(**_SOUND).build())) == 1


@pytest.mark.parametrize("change", _LIES.values(), ids=_LIES.keys())
def test_a_file_that_lies_is_opaque(change: dict[str, Any]) -> None:
    assert spans_of(GgufFile(**{**_SOUND, **change}).build()) == []


@pytest.mark.parametrize("kept", range(4, 72, 4))
def test_a_file_that_is_cut_short_is_opaque(kept: int) -> None:
    assert spans_of(GgufFile(**_SOUND).build()[:kept]) == []
