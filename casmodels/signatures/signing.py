"""Signatures made and checked by the package `model_signing`.

Its public interface takes paths of a directory, of keys and of the signature. Here the digests of the files are known
already, and keys may be decrypted ones: it is given a listing in place of the directory (`_Listed`), keys through pipes
and signatures through files that have no name, so that nothing is left behind whatever happens.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from casmodels.errors import SignatureError
from casmodels.signatures.bundles import Bundle
from casmodels.signatures.coverage import IGNORED
from casmodels.signatures.keys import Key
from casmodels.signatures.packages import package

Digests = Mapping[str, bytes]
"""Paths, and the digest of the file there."""

_ALGORITHM: Final = "sha256"
_UNREADABLE: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What the package lets through of what is not in its format."""


def sign(name: str, digests: Digests, key: Key, *, allow_links: bool) -> bytes:
    """A signature over files by their SHA-256; ``name`` is what the model is called in it. Raises MissingExtraError."""
    listed = _Listed(name, lambda: digests, _ALGORITHM, allow_links=allow_links)
    config = package("model_signing.signing").Config().set_hashing_config(listed)
    with _piped(key.pem) as pem, tempfile.TemporaryFile() as file:
        config.use_elliptic_key_signer(private_key=pem).sign(name, _path_of(file))
        file.seek(0)
        return file.read()


def check(bundle: Bundle, key: Key, digests: Callable[[], Digests], what: str) -> None:
    """Check that a key has made a signature, and that it is over files of these ``digests``, by the claim's algorithm.

    They are asked for only when the key fits; ``what`` names the signature in errors. Raises SignatureError,
    MissingExtraError.
    """
    claim = bundle.claim
    if claim.key not in (key.sha256, None):
        raise SignatureError(
            f"{what} was made with another key: the SHA-256 of its public PEM file is {claim.key}",
            remedy="check it with the public key of who signed it",
        )
    listed = _Listed("", digests, claim.algorithm, allow_links=claim.allows_links)
    config = package("model_signing.verifying").Config().set_hashing_config(listed)
    invalid_signature = package("cryptography.exceptions").InvalidSignature
    with _piped(key.pem) as pem, tempfile.TemporaryFile() as file:
        file.write(bundle.for_key(key.sha256))
        file.seek(0)
        try:
            config.use_elliptic_key_verifier(public_key=pem).verify(Path(), _path_of(file))
        except invalid_signature as error:
            raise SignatureError(
                f"{what} does not fit the key: it was made with another one, or has been changed",
                remedy="trust neither it nor what it is of",
            ) from error
        except _UNREADABLE as error:
            if listed.digests is None:
                raise SignatureError(
                    f"{what} is not as model signing writes it", remedy="have it signed again"
                ) from error
            found = {path: (claim.algorithm, digest.hex()) for path, digest in listed.digests.items()}
            raise SignatureError(
                f"{what} is of other files: {_difference(claim.digests, found)}",
                remedy="take the version that was signed, or have this one signed",
            ) from error


class _Listed:
    """Stands where the package has its way of hashing a directory."""

    def __init__(self, name: str, make: Callable[[], Digests], algorithm: str, *, allow_links: bool) -> None:
        self._name = name
        self._make = make
        self._algorithm = algorithm
        self._allow_links = allow_links
        self.digests: Digests | None = None

    def add_ignored_paths(self, *, model_path: object, paths: object) -> None:
        """What is to be ignored is not listed."""

    def hash(self, model_path: object, *, files_to_hash: object = None) -> Any:  # noqa: ARG002
        """The manifest."""
        self.digests = self._make()
        manifest = package("model_signing.manifest")
        digest_class = package("model_signing._hashing.hashing").Digest  # nothing public makes one of bytes
        items = [
            manifest.FileManifestItem(path=PurePosixPath(path), digest=digest_class(self._algorithm, digest))
            for path, digest in self.digests.items()
        ]
        serialization = {
            "method": "files",
            "hash_type": self._algorithm,
            "allow_symlinks": self._allow_links,
            "ignore_paths": IGNORED,
        }
        return manifest.Manifest(self._name, items, manifest.SerializationType.from_args(serialization))


def _difference(claimed: Mapping[str, object], found: Mapping[str, object]) -> str:
    """What distinguishes two listings, in words."""
    common = claimed.keys() & found.keys()
    parts = [
        ("differs", [path for path in common if claimed[path] != found[path]]),
        ("is missing", claimed.keys() - common),
        ("was not signed", found.keys() - common),
    ]
    return ", ".join(_told(sorted(paths), what) for what, paths in parts if paths)


def _told(paths: list[str], what: str) -> str:
    others = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    return f"{paths[0]!r}{others} {what}"


@contextlib.contextmanager
def _piped(data: bytes) -> Iterator[str]:
    """A path at which these few bytes can be read once."""
    reading, writing = os.pipe()
    try:
        with open(writing, "wb") as file:
            file.write(data)
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)


def _path_of(file: IO[bytes]) -> str:
    return f"/dev/fd/{file.fileno()}"
