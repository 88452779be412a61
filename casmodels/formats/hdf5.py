"""HDF5: datasets of numbers that lie in one piece, wherever groups lead; chunked and compressed ones have no span."""

from __future__ import annotations

import struct
from typing import Final

from casmodels.formats.hdf5_blocks import UNDEFINED, Message, Metadata
from casmodels.formats.hdf5_links import links
from casmodels.formats.layout import (
    BYTE,
    EIGHT_BYTES,
    FOUR_BYTES,
    MAX_DIMENSIONS,
    MAX_TENSORS,
    TWO_BYTES,
    DoubtError,
    ElementType,
    checked,
    similarity_key,
)
from casstore.chunkers.spans import RandomAccess, Span

MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_MAX_NAME_BYTES: Final = 256

_DATASPACE, _DATATYPE, _EXTERNAL, _LAYOUT = 0x01, 0x03, 0x07, 0x08
_CONTIGUOUS: Final = 1
_INTEGER, _FLOAT, _OPAQUE, _ENUMERATION = 0, 1, 5, 8
_WIDTHS: Final = {1: BYTE, 2: TWO_BYTES, 4: FOUR_BYTES, 8: EIGHT_BYTES}
_PLACE: Final = struct.Struct("<QQ")


def hdf5_spans(source: RandomAccess) -> list[Span]:
    """The contiguous datasets of an HDF5 file; raises DoubtError or what `struct` does for wrong metadata."""
    metadata = Metadata(source)
    spans: list[Span] = []
    seen: set[int] = set()
    waiting: list[tuple[int, bytes | None]] = [(_root(metadata), b"")]
    while waiting:
        address, name = waiting.pop()
        if address in seen:
            continue
        seen.add(address)
        if len(seen) > MAX_TENSORS:
            raise DoubtError("too many objects")
        messages = list(metadata.messages(address))
        span = _span(messages, name)
        if span is not None:
            spans.append(span)
        for message in messages:
            waiting += [(header, _joined(name, link)) for link, header in links(metadata, message)]
    return checked(spans, source.size_bytes)


def _root(metadata: Metadata) -> int:
    """The address of the root group's object header, from the superblock."""
    head = metadata.read(0, 96)
    version = head[8]
    if version in (0, 1):
        sizes, base, root = head[13:15], 24 + 4 * version, 64 + 4 * version
    elif version in (2, 3):
        sizes, base, root = head[9:11], 12, 36
    else:
        raise DoubtError("a superblock of a version that is not known")
    if sizes != b"\x08\x08" or any(head[base : base + 8]):
        raise DoubtError("addresses that are not 8 bytes from the file's beginning")
    return int.from_bytes(head[root : root + 8], "little")


def _joined(parent: bytes | None, name: bytes) -> bytes | None:
    """Groups are parts of a name; it is what a state dict of these modules has."""
    joined = b".".join(part for part in (parent, name) if part) if parent is not None else b""
    return joined if 0 < len(joined) <= _MAX_NAME_BYTES else None


def _span(messages: list[Message], name: bytes | None) -> Span | None:
    """A dataset's span, if it is one of numbers and lies in this file in one piece."""
    facts = {message.kind: message.data for message in messages}
    if not {_DATASPACE, _DATATYPE, _LAYOUT} <= facts.keys() or _EXTERNAL in facts:
        return None
    place = _place(facts[_LAYOUT])
    shape = _shape(facts[_DATASPACE])
    kind, big_endian = _element_type(facts[_DATATYPE])
    if place is None or shape is None or kind is None:
        return None
    address, length = place
    if address == UNDEFINED or not length:
        return None
    if length != kind.length_bytes(shape):
        raise DoubtError("a dataset of another length than its shape's")
    key = similarity_key(name.decode("utf-8", "surrogateescape"), shape) if name and not big_endian else b""
    return Span(address, length, kind.item_width, kind.block_bytes, key)


def _place(layout: bytes) -> tuple[int, int] | None:
    """Address and length of contiguous data. Layouts before version 3 were last written by HDF5 1.6.2, of 2004."""
    if layout[0] not in (3, 4) or layout[1] != _CONTIGUOUS:
        return None
    address, length = _PLACE.unpack_from(layout, 2)
    return address, length


def _shape(dataspace: bytes) -> tuple[int, ...] | None:
    version, rank = dataspace[0], dataspace[1]
    start = {1: 8, 2: 4}.get(version)
    if start is None or rank > MAX_DIMENSIONS:
        raise DoubtError("a dataspace that is not known")
    if version == 2 and dataspace[3] > 1:  # no elements at all
        return None
    return struct.unpack_from(f"<{rank}Q", dataspace, start)


def _element_type(datatype: bytes) -> tuple[ElementType | None, bool]:
    """The type, and whether it is big-endian; None for what is no number of a usual width."""
    kind = datatype[0] & 0x0F
    width = int.from_bytes(datatype[4:8], "little")
    if kind in (_INTEGER, _FLOAT):
        return _WIDTHS.get(width), bool(datatype[1] & 0x01)
    if (kind == _ENUMERATION and width == 1) or (kind == _OPAQUE and width <= 2):
        # Booleans; and how h5py writes types of NumPy's that HDF5 has not, such as bfloat16.
        return _WIDTHS.get(width), False
    return None, False
