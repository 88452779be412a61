"""Frames: nothing but exactly one whole frame is taken for one."""

from __future__ import annotations

import pytest

from casstore.digests import git_blob_digest, sha256_digest
from casstore.errors import DamagedError
from casstore.frames import (
    HEADER_BYTES,
    FrameHeader,
    FrameKind,
    chunk_hint,
    encode_frame,
    parse_frame,
    parse_recipe_hint,
    recipe_hint,
)
from casstore.recipes import Recipe

PAYLOAD = b"payload"
HEADER = FrameHeader(FrameKind.CHUNK, b"\x07" * 32, 1, 100, len(PAYLOAD), b"\x09" * 32, 2, b"hint")
FRAME = encode_frame(HEADER, PAYLOAD)


def test_encoded_and_parsed() -> None:
    for header in (HEADER, FrameHeader(FrameKind.VERSION, bytes(32), 0, len(PAYLOAD), len(PAYLOAD))):
        frame = encode_frame(header, PAYLOAD)
        parsed, payload = parse_frame(frame, check=True)
        assert parsed == header
        assert payload == PAYLOAD
        assert len(frame) == header.frame_length == HEADER_BYTES + len(header.hint) + len(PAYLOAD)


def test_every_flipped_bit_is_found() -> None:
    for position in range(len(FRAME)):
        data = bytearray(FRAME)
        data[position] ^= 0x20
        with pytest.raises(DamagedError):
            parse_frame(data, check=True)


def test_every_other_length_is_refused() -> None:
    for length in range(len(FRAME)):
        with pytest.raises(DamagedError):
            parse_frame(FRAME[:length], check=False)
    with pytest.raises(DamagedError):
        parse_frame(FRAME + b"x", check=False)


def test_a_frame_that_claims_more_than_any_has_is_refused() -> None:
    with pytest.raises(DamagedError, match="cannot be"):
        parse_frame(encode_frame(FrameHeader(FrameKind.CHUNK, bytes(32), 0, (1 << 30) + 1, 0), b""), check=True)


def test_hints() -> None:
    for git in (None, git_blob_digest(b"x")):
        recipe = Recipe(sha256_digest(b"x"), 1, (), git)
        assert parse_recipe_hint(recipe_hint(recipe)) == (recipe.sha256, 1, git)
    assert chunk_hint(4, b"8 bytes!") == b"\x048 bytes!"
    assert chunk_hint(4, b"") == b""
    for wrong in (b"", recipe_hint(Recipe(sha256_digest(b""), 0, ()))[:-1]):
        with pytest.raises(DamagedError):
            parse_recipe_hint(wrong)
