"""ONNX: a protocol buffer with the graph's initialisers in it, found by their places and without being parsed.

Written against https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Only fields' numbers and lengths are read, and
the initialisers' own short fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from casmodels.formats.cursor import Cursor
from casmodels.formats.layout import (
    BYTE,
    COMPLEX_64,
    COMPLEX_128,
    EIGHT_BYTES,
    FOUR_BITS,
    FOUR_BYTES,
    MAX_DIMENSIONS,
    MAX_TENSORS,
    TWO_BITS,
    TWO_BYTES,
    DoubtError,
    ElementType,
    checked,
    similarity_key,
)
from casstore.chunkers.spans import RandomAccess, Span

MAX_EXTERNAL_FILES: Final = 1000
_MAX_TEXT_BYTES: Final = 4096
_MAX_VERSION: Final = 1000
_MAX_ENTRIES: Final = 16

# Numbers of fields in ModelProto, GraphProto, TensorProto and StringStringEntryProto, and the wire types.
_VERSION, _GRAPH = 1, 7
_INITIALISER = 5
_DIMENSIONS, _TYPE, _FLOATS, _NAME, _RAW, _DOUBLES, _EXTERNAL = 1, 2, 4, 8, 9, 10, 13
_KEY, _VALUE = 1, 2
NUMBER, _EIGHT, BYTES, _FOUR = 0, 1, 2, 5

_TYPES: Final = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), BYTE),  # UINT8, INT8, BOOL, the 8-bit floats
    **dict.fromkeys((4, 5, 10, 16), TWO_BYTES),  # UINT16, INT16, FLOAT16, BFLOAT16
    **dict.fromkeys((1, 6, 12), FOUR_BYTES),  # FLOAT, INT32, UINT32
    **dict.fromkeys((7, 11, 13), EIGHT_BYTES),  # INT64, DOUBLE, UINT64
    14: COMPLEX_64,
    15: COMPLEX_128,
    **dict.fromkeys((21, 22, 23), FOUR_BITS),  # UINT4, INT4, FLOAT4E2M1
    **dict.fromkeys((25, 26), TWO_BITS),  # UINT2, INT2
}
_FLOAT: Final = 1
_DOUBLE: Final = 11


@dataclass(frozen=True, slots=True)
class OnnxLayout:
    """The spans of a model's own file, and those of each file that holds more of its tensors, by its location.

    The latter are as the model tells them, the first of those that begin in one place.
    """

    spans: list[Span]
    external: dict[str, list[Span]]


@dataclass(slots=True)
class _Initialiser:
    """What one TensorProto says. ``start`` and ``length`` are where its numbers lie, in this file or another."""

    dimensions: list[int] = field(default_factory=list)
    kind: int = 0
    name: str = ""
    start: int = 0
    length: int | None = None
    external: dict[str, str] = field(default_factory=dict)
    packed: int = 0


def onnx_layout(source: RandomAccess) -> OnnxLayout:
    """Where a model's initialisers lie; raises DoubtError for what is no such file."""
    cursor = Cursor(source)
    spans: list[Span] = []
    external: dict[str, dict[int, Span]] = {}
    versions = graphs = 0
    for number, wire, value in fields(cursor, source.size_bytes):
        if number == _VERSION and wire == NUMBER and 0 < value <= _MAX_VERSION:
            versions += 1
        elif number == _GRAPH and wire == BYTES:
            graphs += 1
            for initialiser in _initialisers(cursor, value):
                _place(initialiser, spans, external)
    if (versions, graphs) != (1, 1):
        raise DoubtError("no ONNX model")
    elsewhere = {location: list(found.values()) for location, found in external.items()}
    return OnnxLayout(checked(spans, source.size_bytes), elsewhere)


def fields(cursor: Cursor, stop: int) -> Iterator[tuple[int, int, int]]:
    """Number, wire type, and value of each field up to ``stop``; for bytes, the value is where they end.

    While the taker has a field of bytes, the cursor is at their beginning, and may be moved within them.
    """
    while cursor.position < stop:
        tag = cursor.varint()
        number, wire = tag >> 3, tag & 7
        if not number:
            raise DoubtError("a field without a number")
        value = 0
        if wire == NUMBER:
            value = cursor.varint()
        elif wire == BYTES:
            length = cursor.varint()
            value = cursor.position + length
            if value > stop:
                raise DoubtError("a field that is longer than what it is in")
        elif wire in (_EIGHT, _FOUR):
            cursor.skip(8 if wire == _EIGHT else 4)
        else:
            raise DoubtError("a field of a kind that is not known")
        yield number, wire, value
        if wire == BYTES:
            cursor.skip(value - cursor.position)
    if cursor.position != stop:
        raise DoubtError("a field that ends behind what it is in")


def _initialisers(cursor: Cursor, stop: int) -> Iterator[_Initialiser]:
    count = 0
    for number, wire, value in fields(cursor, stop):
        if number == _INITIALISER and wire == BYTES:
            count += 1
            if count > MAX_TENSORS:
                raise DoubtError("too many tensors")
            yield _initialiser(cursor, value)


def _initialiser(cursor: Cursor, stop: int) -> _Initialiser:
    found = _Initialiser()
    for number, wire, value in fields(cursor, stop):
        if number == _DIMENSIONS:
            found.dimensions += [value] if wire == NUMBER else _packed(cursor, value)
            if len(found.dimensions) > MAX_DIMENSIONS or any(size >> 63 for size in found.dimensions):
                raise DoubtError("a tensor of sizes that cannot be")
        elif number == _TYPE and wire == NUMBER:
            found.kind = value
        elif wire != BYTES:
            continue
        elif number == _NAME:
            found.name = text(cursor, value)
        elif number in (_RAW, _FLOATS, _DOUBLES):
            if found.length is not None:
                raise DoubtError("a tensor that has its numbers twice")
            found.start, found.length, found.packed = cursor.position, value - cursor.position, number
        elif number == _EXTERNAL:
            _add_entry(cursor, value, found.external)
    return found


def _packed(cursor: Cursor, stop: int) -> list[int]:
    values: list[int] = []
    while cursor.position < stop:
        if len(values) > MAX_DIMENSIONS:
            raise DoubtError("a tensor of too many dimensions")
        values.append(cursor.varint())
    if cursor.position != stop:
        raise DoubtError("a field that ends behind what it is in")
    return values


def text(cursor: Cursor, stop: int) -> str:
    """A short field of text, up to ``stop``."""
    if stop - cursor.position > _MAX_TEXT_BYTES:
        raise DoubtError("a name that is too long")
    return cursor.take(stop - cursor.position).decode("utf-8", "surrogateescape")


def _add_entry(cursor: Cursor, stop: int, entries: dict[str, str]) -> None:
    parts = {number: text(cursor, value) for number, wire, value in fields(cursor, stop) if wire == BYTES}
    if len(entries) < _MAX_ENTRIES:
        entries[parts.get(_KEY, "")] = parts.get(_VALUE, "")


def _place(found: _Initialiser, spans: list[Span], external: dict[str, dict[int, Span]]) -> None:
    """Enter an initialiser's span where it belongs; none if it is of a type, or written in a way, that is not known."""
    kind = _TYPES.get(found.kind)
    if kind is None or found.kind != {_FLOATS: _FLOAT, _DOUBLES: _DOUBLE}.get(found.packed, found.kind):
        return
    length = _length_bytes(kind, found.dimensions)
    if not length:
        return
    key = similarity_key(found.name, found.dimensions)
    if found.length is not None:
        if found.length != length:
            raise DoubtError("a tensor of another length than its shape's")
        spans.append(Span(found.start, length, kind.item_width, kind.block_bytes, key))
    elif location := found.external.get("location"):
        start, given = int(found.external.get("offset", "0")), int(found.external.get("length", length))
        if given != length or not 0 <= start < 1 << 63:
            raise DoubtError("a tensor of another length than its shape's")
        external.setdefault(location, {}).setdefault(start, Span(start, length, kind.item_width, kind.block_bytes, key))
        if len(external) > MAX_EXTERNAL_FILES:
            raise DoubtError("tensors in too many files")


def _length_bytes(kind: ElementType, shape: list[int]) -> int:
    """Elements of less than a byte fill the last byte only in part."""
    bits = kind.bits
    for size in shape:
        bits *= size
    return -(-bits // 8)
