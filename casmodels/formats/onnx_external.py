"""What an ONNX model keeps in other files, wherever in it a tensor can stand: not only among the graph's initialisers.

Written against https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from casmodels.formats.cursor import Cursor
from casmodels.formats.layout import DoubtError
from casmodels.formats.onnx import BYTES, NUMBER, fields, text
from casstore.chunkers.spans import RandomAccess

_MAX_DEPTH: Final = 100  # protocol buffers' own
_NAME, _EXTERNAL, _LOCATION = 8, 13, 14
_KEY, _VALUE = 1, 2
_ELSEWHERE: Final = 1

_MODEL, _OWN, _TENSOR = "model", "initialiser", "tensor"
_INSIDE: Final[dict[str, dict[int, str]]] = {
    _MODEL: {7: "main", 20: "training", 25: "function"},
    "main": {1: "node", 5: _OWN, 15: "sparse"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: _TENSOR, 2: _TENSOR},
}
"""Which messages lie in which, by the numbers of their fields."""


@dataclass(frozen=True, slots=True)
class ExternalTensor:
    """A tensor that lies in the file ``location``; ``inner`` where it is none of the main graph's initialisers."""

    name: str
    location: str
    inner: bool


def external_tensors(source: RandomAccess) -> list[ExternalTensor]:
    """All of them, in the order of the file. Raises DoubtError for what is no model."""
    cursor = Cursor(source)
    graphs = 0
    found: list[ExternalTensor] = []
    for number, wire, stop in fields(cursor, source.size_bytes):
        if wire == BYTES and number in _INSIDE[_MODEL]:
            kind = _INSIDE[_MODEL][number]
            graphs += kind == "main"
            found += _walk(cursor, stop, kind, 1)
    if not graphs:
        raise DoubtError("no ONNX model")
    return found


def _walk(cursor: Cursor, stop: int, kind: str, depth: int) -> Iterator[ExternalTensor]:
    if depth > _MAX_DEPTH:
        raise DoubtError("graphs in graphs without an end")
    if kind in (_OWN, _TENSOR):
        yield from _tensor(cursor, stop, inner=kind == _TENSOR)
        return
    for number, wire, end in fields(cursor, stop):
        if wire == BYTES and number in _INSIDE[kind]:
            yield from _walk(cursor, end, _INSIDE[kind][number], depth + 1)


def _tensor(cursor: Cursor, stop: int, *, inner: bool) -> Iterator[ExternalTensor]:
    """What one tensor says, once for each location; it is taken at its word wherever it speaks of other files."""
    name, locations, elsewhere = "", [], False
    for number, wire, value in fields(cursor, stop):
        if number == _LOCATION and wire == NUMBER:
            elsewhere = elsewhere or value == _ELSEWHERE
        elif number == _NAME and wire == BYTES:
            name = text(cursor, value)
        elif number == _EXTERNAL and wire == BYTES:
            entry = {part: text(cursor, end) for part, kind, end in fields(cursor, value) if kind == BYTES}
            if entry.get(_KEY) == "location":
                locations.append(entry.get(_VALUE, ""))
    if elsewhere or locations:
        yield from (ExternalTensor(name, location, inner) for location in locations or [""])
