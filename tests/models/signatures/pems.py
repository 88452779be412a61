"""Keys for tests, as the PEM files that people have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}


@dataclass(frozen=True, slots=True)
class Pair:
    """The two files of a key."""

    private: Path
    public: Path


def write_pair(directory: Path, key: Any = None, password: str | None = None) -> Pair:
    """Make the files of a key; without one, of a new key on P-256."""
    key = key if key is not None else ec.generate_private_key(CURVES["P-256"])
    directory.mkdir(parents=True, exist_ok=True)
    pair = Pair(directory / "private.pem", directory / "public.pem")
    encryption = BestAvailableEncryption(password.encode()) if password is not None else NoEncryption()
    pair.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    pair.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return pair


def other_kinds() -> dict[str, Any]:
    """Keys that model signing has no use for."""
    return {
        "secp256k1": ec.generate_private_key(ec.SECP256K1()),
        "RSA": rsa.generate_private_key(65537, 2048),
        "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    }
