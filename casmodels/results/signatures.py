"""What signing and checking signatures give back.

A ``key`` is the SHA-256 of the PEM file of the public key; ``files`` is how many files of the version a signature is
about, and ``unsigned`` are the paths of the others, and of links to directories, which no signature is about.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SignResult:
    """A version that was signed. ``replaced`` is the key of the signature that was kept before; ``output`` is where the
    new one was written to as well."""

    name: str
    version: str
    key: str
    files: int
    unsigned: tuple[str, ...] = ()
    replaced: str | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class SignatureResult:
    """A signature that fits the key and the version. ``source`` is ``kept``, or the path of the signature: of the
    version's own file, or of the file that was given."""

    name: str
    version: str
    source: str
    key: str
    files: int
    unsigned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WrittenSignature:
    """A signature that was written to a file, unchecked. ``source`` as in `SignatureResult`."""

    name: str
    version: str
    source: str
    output: str
