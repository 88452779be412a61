"""Frames: nothing but exactly one whole frame is taken for one."""

from __future__ import annotations

import pytest

from casstore.digests import git_blob_digest, sha256_digest
from casstore.errors import DamagedError
from casstore.frames import (
    HEADER_BYTES,
    Frame,
    FrameHeader,
    FrameKind,
    chunk_hint,
    parse_frame,
    parse_recipe_hint,
    recipe_hint,
)
from casstore.recipes import Recipe


def as_bytes(header: FrameHeader, payload: bytes) -> bytes:
    return Frame.of(header, payload).front + payload


PAYLOAD = b"payload"
HEADER = FrameHeader(FrameKind.CHUNK, b"\x07" * 32, 1, 100, len(PAYLOAD), b"\x09" * 32, 2, b"hint")
FRAME = as_bytes(HEADER, PAYLOAD)


def test_encoded_and_parsed() -> None:
    for header in (HEADER, FrameHeader(FrameKind.VERSION, bytes(32), 0, len(PAYLOAD), len(PAYLOAD))):
        frame = as_bytes(header, PAYLOAD)
        parsed, payload = parse_frame(frame)
        assert parsed == header
        assert payload == PAYLOAD
        assert len(frame) == header.frame_length == HEADER_BYTES + len(header.hint) + len(PAYLOAD)


def flipped(frame: bytes, position: int) -> bytearray:
    data = bytearray(frame)
    data[position] ^= 0x20
    return data


def test_every_flipped_bit_of_a_delta_is_found() -> None:
    for position in range(len(FRAME)):
        with pytest.raises(DamagedError):
            parse_frame(flipped(FRAME, position))


def test_without_a_base_the_payload_is_left_to_the_content_s_digest() -> None:
    header = FrameHeader(FrameKind.CHUNK, bytes(32), 0, len(PAYLOAD), len(PAYLOAD), hint=b"hint")
    frame = as_bytes(header, PAYLOAD)
    for position in range(len(frame) - len(PAYLOAD)):
        with pytest.raises(DamagedError):
            parse_frame(flipped(frame, position))
    assert parse_frame(flipped(frame, len(frame) - 1))[0] == header


def test_every_other_length_is_refused() -> None:
    for length in range(len(FRAME)):
        with pytest.raises(DamagedError):
            parse_frame(FRAME[:length])
    with pytest.raises(DamagedError):
        parse_frame(FRAME + b"x")


def test_a_frame_that_claims_more_than_any_has_is_refused() -> None:
    for kind, most in ((FrameKind.CHUNK, 8 << 20), (FrameKind.TREE, 1 << 30)):
        parse_frame(as_bytes(FrameHeader(kind, bytes(32), 0, most, 0), b""))
        with pytest.raises(DamagedError, match="cannot be"):
            parse_frame(as_bytes(FrameHeader(kind, bytes(32), 0, most + 1, 0), b""))


def test_hints() -> None:
    for git in (None, git_blob_digest(b"x")):
        recipe = Recipe(sha256_digest(b"x"), 1, (), git)
        assert parse_recipe_hint(recipe_hint(recipe)) == (recipe.sha256, 1, git)
    assert chunk_hint(4, b"8 bytes!") == b"\x048 bytes!"
    assert chunk_hint(4, b"") == b""
    for wrong in (b"", recipe_hint(Recipe(sha256_digest(b""), 0, ()))[:-1]):
        with pytest.raises(DamagedError):
            parse_recipe_hint(wrong)
