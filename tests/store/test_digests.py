"""Digests: parsing, and agreement with the tools that made them known."""

from __future__ import annotations

import pytest

from casstore.digests import (
    BLAKE3,
    GIT_BLOB,
    SHA256,
    Digest,
    blake3_digest,
    git_blob_digest,
    git_blob_hasher,
    sha256_digest,
)
from casstore.errors import InvalidInputError


def test_known_values() -> None:
    assert sha256_digest(b"").hex == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert blake3_digest(b"").hex == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert git_blob_digest(b"").hex == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert git_blob_digest(b"hello\n").hex == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_git_hasher_takes_the_bytes_piece_by_piece() -> None:
    hasher = git_blob_hasher(6)
    hasher.update(b"hel")
    hasher.update(b"lo\n")
    assert Digest(GIT_BLOB, hasher.digest()) == git_blob_digest(b"hello\n")


@pytest.mark.parametrize("digest", [sha256_digest(b"x"), blake3_digest(b"x"), git_blob_digest(b"x")])
def test_text_and_back(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == digest
    assert Digest.parse(f"  {str(digest).upper().replace(digest.algorithm.upper(), digest.algorithm)}\n") == digest
    assert Digest.parse(digest.hex, default=digest.algorithm) == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "g" * 64,
        "sha256:" + "٠" * 64,  # decimal digits to str.isdigit, but no hex
        "sha256:" + "0" * 62 + "-1",
        "git:" + "0" * 64,
        "md5:" + "0" * 32,
        ":" + "0" * 64,
        "0" * 64,
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        Digest.parse(text)


def test_default_does_not_override_a_named_algorithm() -> None:
    digest = blake3_digest(b"x")
    assert Digest.parse(str(digest), default=SHA256) == digest
    with pytest.raises(InvalidInputError):
        Digest.parse("0" * 40, default=SHA256)


@pytest.mark.parametrize(("algorithm", "length"), [(BLAKE3, 31), (SHA256, 33), (GIT_BLOB, 32), ("md5", 16)])
def test_a_value_of_another_length_is_refused(algorithm: str, length: int) -> None:
    with pytest.raises(InvalidInputError):
        Digest(algorithm, bytes(length))
