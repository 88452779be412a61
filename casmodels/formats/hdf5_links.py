"""What the groups of an HDF5 file lead to: in symbol tables, in messages, or in a fractal heap with a B-tree."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from casmodels.formats.hdf5_blocks import UNDEFINED, Message, Metadata
from casmodels.formats.layout import DoubtError

Link: TypeAlias = tuple[bytes, int]
"""A name, and the address of the object header that it leads to."""

_LINK_INFO, _LINK, _SYMBOL_TABLE = 0x02, 0x06, 0x11
_MAX_DEPTH: Final = 16
_MAX_NAME_BYTES: Final = 4096
_MAX_NODE_BYTES: Final = 1 << 20
_SOFT: Final = 2

_PLACE: Final = struct.Struct("<QQ")
_HEAP: Final = struct.Struct("<4sB3xQQQ")
_TREE: Final = struct.Struct("<4sBBH16x")
_NODE: Final = struct.Struct("<4sBxH")
_SYMBOL: Final = struct.Struct("<QQI20x")
_TREE_2: Final = struct.Struct("<4sBBIHHBBQH8x")
_NODE_2_BYTES: Final = 10  # signature, version, type and checksum
_HEAP_2: Final = struct.Struct("<4sBHHBI96xHQQHHQH")
_BY_NAME: Final = 5
_HASH_BYTES: Final = 4


def links(metadata: Metadata, message: Message) -> Iterator[Link]:
    """The hard links that a message of a group's header tells of; none if it is of another kind."""
    if message.kind == _SYMBOL_TABLE:
        tree, heap = _PLACE.unpack_from(message.data)
        yield from _symbols(metadata, tree, _local_heap(metadata, heap), _MAX_DEPTH)
    elif message.kind == _LINK:
        yield from _link(message.data)
    elif message.kind == _LINK_INFO:
        yield from _dense_links(metadata, message.data)


def _local_heap(metadata: Metadata, address: int) -> bytes:
    signature, version, length, _, start = _HEAP.unpack(metadata.read(address, _HEAP.size))
    if signature != b"HEAP" or version:
        raise DoubtError("a local heap that is none")
    return metadata.read(start, length)


def _symbols(metadata: Metadata, address: int, names: bytes, depth: int) -> Iterator[Link]:
    """The links under a node of a B-tree, version 1, whose leaves are symbol table nodes."""
    signature, kind, level, count = _TREE.unpack(metadata.read(address, _TREE.size))
    if signature != b"TREE" or kind or level >= depth:
        raise DoubtError("a group's B-tree that is none")
    children = metadata.read(address + _TREE.size, 16 * count)
    for position in range(8, len(children), 16):  # a key before each child
        child = int.from_bytes(children[position : position + 8], "little")
        if level:
            yield from _symbols(metadata, child, names, level)
        else:
            yield from _symbol_node(metadata, child, names)


def _symbol_node(metadata: Metadata, address: int, names: bytes) -> Iterator[Link]:
    signature, version, count = _NODE.unpack(metadata.read(address, _NODE.size))
    if signature != b"SNOD" or version != 1:
        raise DoubtError("a symbol table that is none")
    metadata.step(count)
    for start, header, cache in _SYMBOL.iter_unpack(metadata.read(address + _NODE.size, _SYMBOL.size * count)):
        if cache != _SOFT:
            yield names[start : names.index(b"\0", start, start + _MAX_NAME_BYTES)], header


def _link(data: bytes) -> Iterator[Link]:
    """A link message. Soft and external links lead to what has another name already, or lies elsewhere."""
    if data[0] != 1:
        raise DoubtError("a link of a version that is not known")
    flags = data[1]
    position = 2
    if flags & 0x08:
        if data[position]:
            return
        position += 1
    position += (8 if flags & 0x04 else 0) + (1 if flags & 0x10 else 0)
    length_bytes = 1 << (flags & 3)
    length = int.from_bytes(data[position : position + length_bytes], "little")
    position += length_bytes
    name, address = data[position : position + length], data[position + length : position + length + 8]
    if len(name) != length or len(address) != 8:
        raise DoubtError("a link that is cut short")
    yield name, int.from_bytes(address, "little")


def _dense_links(metadata: Metadata, info: bytes) -> Iterator[Link]:
    version, flags = info[0], info[1]
    heap_address, tree_address = _PLACE.unpack_from(info, 10 if flags & 1 else 2)
    if version:
        raise DoubtError("links of a version that is not known")
    if heap_address == UNDEFINED or tree_address == UNDEFINED:
        return
    heap = _FractalHeap.at(metadata, heap_address)
    for record in _records(metadata, tree_address):
        yield from _link(heap.read(metadata, record[_HASH_BYTES:]))


def _records(metadata: Metadata, address: int) -> Iterator[bytes]:
    """The records of a B-tree, version 2, of links by the hashes of their names."""
    head = _TREE_2.unpack(metadata.read(address, _TREE_2.size))
    signature, version, kind, node_bytes, record_bytes, depth, _, _, root, count = head
    if signature != b"BTHD" or version or kind != _BY_NAME or depth > _MAX_DEPTH:
        raise DoubtError("a B-tree of links that is none")
    if not _HASH_BYTES < record_bytes < node_bytes <= _MAX_NODE_BYTES:
        raise DoubtError("a B-tree of links that is none")
    # How many records the nodes of each level have at most decides how their numbers are written.
    most = (node_bytes - _NODE_2_BYTES) // record_bytes
    count_bytes = _number_bytes(most)
    pointers, below, total_bytes = [0], most, 0
    for _ in range(depth):
        pointers.append(8 + count_bytes + total_bytes)
        most = (node_bytes - _NODE_2_BYTES - pointers[-1]) // (record_bytes + pointers[-1])
        if most <= 0:
            raise DoubtError("a B-tree whose nodes have no room")
        below = (most + 1) * below + most
        total_bytes = _number_bytes(below)
    nodes = [(root, count, depth)] if root != UNDEFINED else []
    while nodes:
        address, count, level = nodes.pop()
        metadata.step(count)
        length = record_bytes * count + (count + 1) * pointers[level]
        if length + _NODE_2_BYTES > node_bytes:
            raise DoubtError("a node with more records than it has room for")
        node = metadata.read(address, 6 + length)
        if node[:4] != (b"BTIN" if level else b"BTLF") or node[5] != kind:
            raise DoubtError("a node of a B-tree that is none")
        places = 6 + record_bytes * count
        for start in range(6, places, record_bytes):
            yield node[start : start + record_bytes]
        for start in range(places, 6 + length, pointers[level] or 1):
            child = int.from_bytes(node[start : start + 8], "little")
            nodes.append((child, int.from_bytes(node[start + 8 : start + 8 + count_bytes], "little"), level - 1))


@dataclass(frozen=True, slots=True)
class _FractalHeap:
    """Objects in blocks whose sizes double with every row but the second of a table."""

    root: int
    root_rows: int
    width: int
    first_bits: int
    direct_rows: int
    offset_bytes: int
    length_bytes: int

    @classmethod
    def at(cls, metadata: Metadata, address: int) -> _FractalHeap:
        head = _HEAP_2.unpack(metadata.read(address, _HEAP_2.size))
        signature, version, _, filters, _, managed, width, first, direct, bits, _, root, rows = head
        if signature != b"FRHP" or version or filters:
            raise DoubtError("a fractal heap of a kind that is not known")
        if not _is_power(width) or not _is_power(first) or not _is_power(direct) or direct < first or bits > 64:
            raise DoubtError("a fractal heap of sizes that cannot be")
        direct_bits = direct.bit_length() - 1
        return cls(
            root=root,
            root_rows=rows,
            width=width,
            first_bits=first.bit_length() - 1,
            direct_rows=direct_bits - first.bit_length() + 3,
            offset_bytes=(bits + 7) // 8,
            length_bytes=min((direct_bits + 7) // 8, _number_bytes(managed)),
        )

    def read(self, metadata: Metadata, identity: bytes) -> bytes:
        """An object by its id. Links are far too short to lie outside the heap's own blocks."""
        stop = 1 + self.offset_bytes + self.length_bytes
        if identity[0] & 0xF0 or len(identity) < stop:
            raise DoubtError("an object of a heap that lies elsewhere")
        offset = int.from_bytes(identity[1 : 1 + self.offset_bytes], "little")
        length = int.from_bytes(identity[1 + self.offset_bytes : stop], "little")
        address, rows, block_bits = self.root, self.root_rows, self.first_bits
        while rows:
            row, column, offset, block_bits = self._cell(offset)
            if row >= rows:
                raise DoubtError("an object behind the end of its heap")
            # Every indirect block begins with signature, version, the heap's address and its own offset.
            entry = address + 13 + self.offset_bytes + 8 * (row * self.width + column)
            address = metadata.number(entry)
            rows = 0 if row < self.direct_rows else block_bits - self._first_row_bits + 1
            if rows < 0 or address == UNDEFINED:
                raise DoubtError("an object in a block that is not there")
        if offset + length > 1 << block_bits:
            raise DoubtError("an object that is longer than its block")
        return metadata.read(address + offset, length)

    @property
    def _first_row_bits(self) -> int:
        return self.first_bits + self.width.bit_length() - 1

    def _cell(self, offset: int) -> tuple[int, int, int, int]:
        """Row and column of an offset, what is left of it in that cell, and the cell's size as a power of two."""
        row = max(0, offset.bit_length() - self._first_row_bits)
        bits = self.first_bits + max(0, row - 1)
        start = 1 << (self._first_row_bits + row - 1) if row else 0
        column, rest = divmod(offset - start, 1 << bits)
        return row, column, rest, bits


def _is_power(number: int) -> bool:
    return number > 0 and not number & (number - 1)


def _number_bytes(limit: int) -> int:
    """How many bytes HDF5 writes numbers up to a limit in."""
    return max(limit.bit_length() - 1, 0) // 8 + 1
