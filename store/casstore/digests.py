"""Digests: ``algorithm:hex`` of exact bytes.

Three algorithms are used: BLAKE3-256 names chunks and records, SHA-256 names blobs (as the Hub's LFS, OCI and
safetensors users do), and git's blob id (SHA-1 over ``blob <size>\\0`` and the bytes) is kept beside it because
the Hub names its small files so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from casstore.buffers import Buffer
from casstore.errors import InvalidInputError

if TYPE_CHECKING:  # it loads OpenSSL, which looking things up does not need
    import hashlib

BLAKE3: Final = "blake3"
SHA256: Final = "sha256"
GIT_BLOB: Final = "git"

_LENGTHS_BYTES: Final = {BLAKE3: 32, SHA256: 32, GIT_BLOB: 20}
_HEX = re.compile(r"[0-9a-f]*\Z")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A digest: the algorithm's name and the raw value."""

    algorithm: str
    value: bytes

    def __post_init__(self) -> None:
        if _LENGTHS_BYTES.get(self.algorithm) != len(self.value):
            raise InvalidInputError(f"a {self.algorithm} digest cannot have {len(self.value)} bytes")

    @property
    def hex(self) -> str:
        """The value in lower-case hexadecimal."""
        return self.value.hex()

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @classmethod
    def parse(cls, text: str, *, default: str | None = None) -> Digest:
        """Read ``algorithm:hex``; with ``default``, the bare hex is taken for that algorithm.

        Raises InvalidInputError for anything else.
        """
        algorithm, colon, value = text.strip().partition(":")
        if not colon and default is not None:
            algorithm, value = default, algorithm
        value = value.lower()
        wanted = _LENGTHS_BYTES.get(algorithm)
        if wanted is None or len(value) != 2 * wanted or not _HEX.match(value):
            raise InvalidInputError(f"{text!r} is not a digest such as sha256:<64 hex digits>")
        return cls(algorithm, bytes.fromhex(value))


def blake3_digest(data: Buffer) -> Digest:
    """The BLAKE3-256 of some bytes."""
    return Digest(BLAKE3, blake3(data).digest())


def sha256_digest(data: Buffer) -> Digest:
    """The SHA-256 of some bytes."""
    import hashlib

    return Digest(SHA256, hashlib.sha256(data).digest())


def git_blob_hasher(size_bytes: int) -> hashlib._Hash:
    """A SHA-1 hasher primed with git's header for a blob of that many bytes."""
    import hashlib

    return hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)


def git_blob_digest(data: bytes) -> Digest:
    """The id that git gives to a blob of these bytes."""
    hasher = git_blob_hasher(len(data))
    hasher.update(data)
    return Digest(GIT_BLOB, hasher.digest())
