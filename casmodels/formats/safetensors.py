"""safetensors: 8 bytes of header length, a JSON header, the tensors.

Written against https://huggingface.co/docs/safetensors (the format's own limit for the header is 100 MB). The
header is read entry by entry, so that a hostile one costs its own bytes and no more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Final

from casmodels.formats.layout import (
    BYTE,
    COMPLEX_64,
    EIGHT_BYTES,
    FOUR_BITS,
    FOUR_BYTES,
    MAX_DIMENSIONS,
    MAX_TENSORS,
    SIX_BITS,
    TWO_BYTES,
    DoubtError,
    StoredTensor,
    checked,
    similarity_key,
)
from casstore.chunkers.spans import RandomAccess, Span

MAX_HEADER_BYTES: Final = 100_000_000
_PREFIX_BYTES: Final = 8
_SHORTEST_HEADER_BYTES: Final = 2

ELEMENTS: Final = {
    "BOOL": BYTE,
    "U8": BYTE,
    "I8": BYTE,
    "F8_E5M2": BYTE,
    "F8_E4M3": BYTE,
    "F8_E8M0": BYTE,
    "F8_E5M2FNUZ": BYTE,
    "F8_E4M3FNUZ": BYTE,
    "U16": TWO_BYTES,
    "I16": TWO_BYTES,
    "F16": TWO_BYTES,
    "BF16": TWO_BYTES,
    "U32": FOUR_BYTES,
    "I32": FOUR_BYTES,
    "F32": FOUR_BYTES,
    "U64": EIGHT_BYTES,
    "I64": EIGHT_BYTES,
    "F64": EIGHT_BYTES,
    "C64": COMPLEX_64,
    "F4": FOUR_BITS,
    "I4": FOUR_BITS,
    "U4": FOUR_BITS,
    "F6_E2M3": SIX_BITS,
    "F6_E3M2": SIX_BITS,
}
"""The types that the format has, and what they are made of."""


@dataclass(frozen=True, slots=True)
class StoredNumbers:
    """A tensor to be written: the format's word for its type, and the numbers, rows first, lowest byte first."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview


_STRING: Final = rb'"(?:[^"\\\x00-\x1f]|\\.)*+"'
_SPACE: Final = rb"[ \t\r\n]*+"
_KEY: Final = re.compile(_SPACE + rb"(" + _STRING + rb")" + _SPACE + rb":" + _SPACE, re.DOTALL)
_TENSOR: Final = re.compile(rb"\{[^{}]{0,4096}\}")
_METADATA: Final = re.compile(rb"\{(?:[^{}\"]|" + _STRING + rb")*+\}", re.DOTALL)
_NEXT: Final = re.compile(_SPACE + rb"([,}])")
_BLANK: Final = re.compile(_SPACE)


def looks_like_safetensors(head: bytes, size_bytes: int) -> bool:
    """Whether a file's first 9 bytes can begin a safetensors file of that size."""
    if len(head) < _PREFIX_BYTES + 1 or head[_PREFIX_BYTES] != ord("{"):
        return False
    header_bytes = int.from_bytes(head[:_PREFIX_BYTES], "little")
    return _SHORTEST_HEADER_BYTES <= header_bytes <= min(MAX_HEADER_BYTES, size_bytes - _PREFIX_BYTES)


def safetensors_spans(source: RandomAccess) -> list[Span]:
    """The spans of a safetensors file; raises DoubtError or ValueError for a wrong header."""
    return _spans(safetensors_tensors(source), source)


def safetensors_tensors(source: RandomAccess) -> list[StoredTensor]:
    """The tensors of a safetensors file, in the header's order; raises as `safetensors_spans`."""
    tensors = _tensors(source)
    _spans(tensors, source)
    return tensors


def _spans(tensors: Iterable[StoredTensor], source: RandomAccess) -> list[Span]:
    spans = []
    for tensor in tensors:
        if tensor.storage_bytes:
            kind, key = ELEMENTS[tensor.dtype], similarity_key(tensor.name, tensor.shape)
            spans.append(Span(tensor.storage_at, tensor.storage_bytes, kind.item_width, kind.block_bytes, key))
    return checked(spans, source.size_bytes)


def _tensors(source: RandomAccess) -> list[StoredTensor]:
    header_bytes = int.from_bytes(source.read_at(0, _PREFIX_BYTES), "little")
    header = source.read_at(_PREFIX_BYTES, header_bytes)
    if len(header) != header_bytes:
        raise DoubtError("the header is cut short")
    data_start = _PREFIX_BYTES + header_bytes
    names: set[str] = set()
    tensors = []
    for name, entry in _entries(header):
        if name in names or len(names) >= MAX_TENSORS:
            raise DoubtError("a tensor is named twice, or there are too many")
        names.add(name)
        tensors.append(_tensor(name, entry, data_start))
    return tensors


def _entries(header: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and JSON of each tensor in the header: one JSON object, and nothing after it but blanks."""
    position = 1
    seen_metadata = False
    end = _NEXT.match(header, position)
    while end is None or end[1] != b"}":
        key = _KEY.match(header, position)
        if key is None:
            raise DoubtError("the header is not a JSON object")
        name = json.loads(key[1])
        is_metadata = name == "__metadata__"
        value = (_METADATA if is_metadata else _TENSOR).match(header, key.end())
        end = _NEXT.match(header, value.end()) if value is not None else None
        if value is None or end is None or (is_metadata and seen_metadata):
            raise DoubtError("the header is not as safetensors defines it")
        seen_metadata |= is_metadata
        if not is_metadata:
            yield name, value[0]
        position = end.end()
    if _BLANK.fullmatch(header, end.end()) is None:
        raise DoubtError("something follows the header")


def _tensor(name: str, entry: bytes, data_start: int) -> StoredTensor:
    pairs = json.loads(entry, object_pairs_hook=list)
    fields = dict(pairs)
    if len(pairs) != 3 or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise DoubtError("a tensor with other fields than dtype, shape and data_offsets")
    kind = ELEMENTS.get(fields["dtype"]) if isinstance(fields["dtype"], str) else None
    shape, offsets = fields["shape"], fields["data_offsets"]
    if kind is None or not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise DoubtError("a tensor of unknown type, or sizes that are no whole numbers")
    start, end = offsets
    if len(shape) > MAX_DIMENSIONS or end - start != kind.length_bytes(shape):
        raise DoubtError("a tensor whose offsets contradict its shape")
    return StoredTensor(name, fields["dtype"], tuple(shape), data_start + start, end - start, kind.bits)


def _are_sizes(values: object) -> bool:
    """Whether these are whole numbers that fit 64 bits; true and 1.0 are none."""
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 63 for value in values)


def safetensors_metadata(file: IO[bytes]) -> dict[str, str]:
    """The texts by key that the header may hold beside the tensors. Raises DoubtError, and ValueError for no JSON."""
    header_bytes = int.from_bytes(file.read(_PREFIX_BYTES), "little")
    if header_bytes > MAX_HEADER_BYTES:
        raise DoubtError("the header is larger than it may be")
    header = json.loads(file.read(header_bytes))
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise DoubtError("the header is not as safetensors defines it")
    return metadata


def safetensors_bytes(tensors: Mapping[str, StoredNumbers], metadata: Mapping[str, str]) -> bytes:
    """A whole file: always the same for the same tensors, while safetensors' own writer leaves the metadata in any
    order. The widest numbers come first, so that all lie on the boundaries that suit them."""
    ordered = sorted(tensors.items(), key=lambda item: (-ELEMENTS[item[1].dtype].bits, item[0]))
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    position = 0
    for name, numbers in ordered:
        end = position + len(numbers.data)
        header[name] = {"dtype": numbers.dtype, "shape": list(numbers.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % _PREFIX_BYTES)
    return b"".join([len(text).to_bytes(_PREFIX_BYTES, "little"), text, *(numbers.data for _, numbers in ordered)])
