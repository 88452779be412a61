"""Frames: one encoded chunk or record with its header. FORMAT.md, "Frames", gives the bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from blake3 import blake3

from casstore.buffers import Buffer
from casstore.digests import GIT_BLOB, SHA256, Digest
from casstore.errors import DamagedError
from casstore.recipes import MAX_CHUNK_BYTES, Recipe

_FIELDS = struct.Struct("<4sBBBBIIHH32s32s")
CHECKSUM_BYTES = 8
FRAME_MAGIC = b"CFRM"
_NO_BASE = bytes(32)
_CHUNK_HINT = struct.Struct("<B8s")
_RECIPE_HINT = struct.Struct("<32sQB20s")

HEADER_BYTES = _FIELDS.size + CHECKSUM_BYTES
MAX_RAW_BYTES = 1 << 30
"""No frame decodes to more: a record of this size would list 26 million chunks."""


class FrameKind(IntEnum):
    """What a frame holds."""

    CHUNK = 1
    RECIPE = 2
    TREE = 3
    VERSION = 4


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """A frame's header.

    ``digest`` is the 32 raw bytes of the content's BLAKE3; ``base`` those of the chunk that a delta is against, or
    empty; ``hint`` helps to rebuild the index without decoding; lengths are bytes.
    """

    kind: FrameKind
    digest: bytes
    codec: int
    raw_length: int
    stored_length: int
    base: bytes = b""
    cast: int = 0
    hint: bytes = b""

    @property
    def frame_length(self) -> int:
        """Bytes of the whole frame: header, hint and payload."""
        return HEADER_BYTES + len(self.hint) + self.stored_length

    def fields(self) -> bytes:
        """The fixed fields and the hint, as they stand in the frame and in the pack's trailer."""
        fixed = _FIELDS.pack(
            FRAME_MAGIC,
            self.kind,
            self.codec,
            self.cast,
            0,
            self.raw_length,
            self.stored_length,
            len(self.hint),
            0,
            self.digest,
            self.base or _NO_BASE,
        )
        return fixed + self.hint


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that is to be written: its header, the bytes before its payload, its payload."""

    header: FrameHeader
    front: bytes
    payload: Buffer

    @classmethod
    def of(cls, header: FrameHeader, payload: Buffer) -> Frame:
        """A frame of that content."""
        fixed = header.fields()[: _FIELDS.size]
        return cls(header, fixed + _checksum(header, fixed, payload) + header.hint, payload)


def parse_fields(data: Buffer, offset: int, *, checksum_bytes: int = 0) -> FrameHeader:
    """Read fields and hint at ``offset``; between them lie ``checksum_bytes``. Raises DamagedError when they are
    none."""
    try:
        magic, kind, codec, cast, _, raw, stored, hint_length, _, digest, base = _FIELDS.unpack_from(data, offset)
        if magic != FRAME_MAGIC:
            raise DamagedError("a frame header", "it does not begin with the frame's magic")
        kind = FrameKind(kind)
    except (struct.error, ValueError) as error:
        raise DamagedError("a frame header", "it is cut short or of no known kind") from error
    start = offset + _FIELDS.size + checksum_bytes
    hint = bytes(memoryview(data)[start : start + hint_length])
    most = MAX_CHUNK_BYTES if kind is FrameKind.CHUNK else MAX_RAW_BYTES
    if len(hint) != hint_length or raw > most:
        raise DamagedError("a frame header", "its lengths cannot be")
    return FrameHeader(kind, digest, codec, raw, stored, b"" if base == _NO_BASE else base, cast, hint)


def parse_frame(data: Buffer) -> tuple[FrameHeader, memoryview]:
    """Header and payload of a whole frame. Raises DamagedError for anything that is not exactly one frame.

    That the payload is right is seen from the digest of what it decodes to.
    """
    view = memoryview(data)
    header = parse_fields(view, 0, checksum_bytes=CHECKSUM_BYTES)
    if len(view) != header.frame_length:
        raise DamagedError(f"the frame of {header.digest.hex()}", "it has another length than its header says")
    payload = view[HEADER_BYTES + len(header.hint) :]
    if _checksum(header, view[: _FIELDS.size], payload) != view[_FIELDS.size : HEADER_BYTES]:
        raise DamagedError(f"the frame of {header.digest.hex()}", "its checksum does not match")
    return header, payload


def _checksum(header: FrameHeader, fixed: Buffer, payload: Buffer) -> bytes:
    """Over the payload, too, only where the content's digest does not tell whose fault it is: its own or its base's."""
    hasher = blake3(fixed)
    hasher.update(header.hint)
    if header.base:
        hasher.update(payload)
    return hasher.digest(length=CHECKSUM_BYTES)


def chunk_hint(item_width: int, key: bytes, sketch: bytes = b"") -> bytes:
    """What a tensor chunk's frame says of it: bytes per element, the similarity key and, if it may be a base, its
    sketch; empty without a key."""
    return _CHUNK_HINT.pack(item_width, key) + sketch if key else b""


def parse_chunk_hint(hint: bytes) -> tuple[int, bytes, bytes]:
    """The inverse of `chunk_hint`; one that is too short says nothing."""
    if len(hint) < _CHUNK_HINT.size:
        return 0, b"", b""
    item_width, key = _CHUNK_HINT.unpack_from(hint)
    return item_width, key, hint[_CHUNK_HINT.size :]


def recipe_hint(recipe: Recipe) -> bytes:
    """What a recipe's frame says of its blob, so that the index can be rebuilt without decoding."""
    git = recipe.git.value if recipe.git is not None else bytes(20)
    return _RECIPE_HINT.pack(recipe.sha256.value, recipe.size_bytes, recipe.git is not None, git)


def parse_recipe_hint(hint: bytes) -> tuple[Digest, int, Digest | None]:
    """The inverse of `recipe_hint`: the blob's SHA-256, its size in bytes, its git id or None."""
    if len(hint) != _RECIPE_HINT.size:
        raise DamagedError("a recipe's frame", "its hint has a wrong length")
    sha256, size_bytes, has_git, git = _RECIPE_HINT.unpack(hint)
    return Digest(SHA256, sha256), size_bytes, Digest(GIT_BLOB, git) if has_git else None
