"""Keys of elliptic curves, as PEM files."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from casmodels.errors import SigningKeyError
from casmodels.signatures.packages import package
from casmodels.signatures.reading import read_start
from casstore.errors import InvalidInputError, NotFoundError

_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_MOST_BYTES: Final = 16 << 10
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_MAKE_ONE: Final = "name one, or make one: `openssl ecparam -name prime256v1 -genkey -noout -out new-private.pem`"
_SHOW_PUBLIC: Final = "`openssl ec -in private.pem -pubout -out public.pem` gives the public one"


@dataclass(frozen=True, slots=True)
class Key:
    """A key that can be used. ``pem`` is not encrypted; ``sha256`` is that of the PEM file of its public half."""

    pem: bytes = field(repr=False)
    curve: str
    sha256: str


def read_private_key(path: Path, ask_password: Callable[[], str | None]) -> Key:
    """A private key; ``ask_password`` is called if it is encrypted. Raises SigningKeyError, MissingExtraError."""
    serialization = package("cryptography.hazmat.primitives.serialization")
    data, labels = _read(path)
    if not any(label.endswith("PRIVATE KEY") for label in labels):
        found = "a public key" if "PUBLIC KEY" in labels else "a certificate" if "CERTIFICATE" in labels else "no key"
        raise SigningKeyError(f"{path} is {found}, and to sign takes a private key in PEM", remedy=_MAKE_ONE)
    try:
        key = serialization.load_pem_private_key(data, None)
    except TypeError:  # what is said of an encrypted key
        key = _decrypted(path, data, ask_password())
    except Exception as error:  # the library has no class of its own for what cannot be read
        raise SigningKeyError(f"the private key {path} cannot be read", remedy=_MAKE_ONE) from error
    curve = _curve(path, key)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Key(pem, curve, sha256(_public_pem(key.public_key())).hexdigest())


def read_public_key(path: Path) -> Key:
    """A public key. Raises SigningKeyError, MissingExtraError."""
    serialization = package("cryptography.hazmat.primitives.serialization")
    data, labels = _read(path)
    if any(label.endswith("PRIVATE KEY") for label in labels):
        raise SigningKeyError(f"{path} is a private key, and to check takes the public one", remedy=_SHOW_PUBLIC)
    if "PUBLIC KEY" not in labels:
        found = "a certificate" if "CERTIFICATE" in labels else "no key"
        raise SigningKeyError(f"{path} is {found}, and to check takes a public key in PEM", remedy=_SHOW_PUBLIC)
    try:
        key = serialization.load_pem_public_key(data)
    except Exception as error:  # the library has no class of its own for what cannot be read
        raise SigningKeyError(f"the public key {path} cannot be read", remedy=_SHOW_PUBLIC) from error
    curve = _curve(path, key)
    pem = _public_pem(key)
    return Key(pem, curve, sha256(pem).hexdigest())


def _read(path: Path) -> tuple[bytes, list[str]]:
    """What a key's file holds, and what its PEM blocks are called."""
    try:
        data = read_start(path, _MOST_BYTES + 1)
    except (NotFoundError, InvalidInputError) as error:
        raise SigningKeyError(f"the key cannot be read: {error.message}", remedy="name a PEM file") from error
    if len(data) > _MOST_BYTES:
        raise SigningKeyError(f"{path} is too large for a key", remedy="name a PEM file")
    return data, [label.decode("ascii") for label in _LABEL.findall(data)]


def _decrypted(path: Path, data: bytes, password: str | None) -> Any:
    serialization = package("cryptography.hazmat.primitives.serialization")
    if not password:
        raise SigningKeyError(f"the key {path} is encrypted, and no password was given", remedy="give its password")
    try:
        return serialization.load_pem_private_key(data, password.encode())
    except Exception as error:  # the library has no class of its own for a wrong password
        raise SigningKeyError(
            f"the key {path} cannot be decrypted with that password", remedy="try again with the right one"
        ) from error


def _curve(path: Path, key: Any) -> str:
    """The curve's name. Raises SigningKeyError unless model signing knows it."""
    name = getattr(getattr(key, "curve", None), "name", None)
    if name not in _CURVES:
        kind = f"of the curve {name}" if name is not None else "of no elliptic curve"
        raise SigningKeyError(f"the key {path} is {kind}: {', '.join(_CURVES.values())} will do", remedy=_MAKE_ONE)
    return _CURVES[name]


def _public_pem(key: Any) -> bytes:
    serialization = package("cryptography.hazmat.primitives.serialization")
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert isinstance(pem, bytes)
    return pem
