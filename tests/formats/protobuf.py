"""ONNX models built field by field, so that any field may be wrong."""

from __future__ import annotations


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(
    shape: tuple[int, ...] = (2,), kind: int = 1, data: bytes = bytes(8), name: bytes = b"t", more: bytes = b""
) -> bytes:
    dimensions = b"".join(number_field(1, size) for size in shape)
    return dimensions + number_field(2, kind) + bytes_field(8, name) + bytes_field(9, data) + more


def model(*tensors: bytes, version: bytes = number_field(1, 10), graph: bytes = b"") -> bytes:
    return version + bytes_field(7, b"".join(bytes_field(5, data) for data in tensors) + graph)
