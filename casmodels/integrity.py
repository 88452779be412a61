"""Whether a file is the one that a checksum is of."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from casstore.digests import BLAKE3, SHA256, Digest, git_blob_hasher
from casstore.errors import InvalidInputError
from casstore.sources import open_source

if TYPE_CHECKING:
    import hashlib

_BLOCK_BYTES = 4 << 20


def verify_model_integrity(path: str | os.PathLike[str], expected_checksum: str) -> bool:
    """Whether a file's bytes have that checksum.

    ``expected_checksum`` is ``sha256:hex``, ``blake3:hex`` or ``git:hex`` (git's id of a blob); bare hex digits are a
    SHA-256. Raises NotFoundError when there is no such file, InvalidInputError for a directory, for a file that may not
    be read and for what is no checksum, ChangedWhileReadError.
    """
    expected = Digest.parse(expected_checksum, default=SHA256)
    return file_digest(Path(path), expected.algorithm) == expected


def file_digest(path: Path, algorithm: str, between: Callable[[], object] = lambda: None) -> Digest:
    """The digest of a file's bytes; ``between`` is called before each block. Raises as `verify_model_integrity`."""
    if "\0" in str(path):
        raise InvalidInputError(f"{str(path)!r} cannot be a path")
    with open_source(path) as source:
        hasher = _hasher(algorithm, source.size_bytes)
        for offset in range(0, source.size_bytes, _BLOCK_BYTES):
            between()
            hasher.update(source.read_at(offset, _BLOCK_BYTES))
        source.check_unchanged()
    return Digest(algorithm, hasher.digest())


def _hasher(algorithm: str, size_bytes: int) -> hashlib._Hash | blake3:
    if algorithm == BLAKE3:
        return blake3()
    if algorithm == SHA256:
        import hashlib

        return hashlib.sha256()
    return git_blob_hasher(size_bytes)
