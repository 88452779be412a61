"""Keys: which can be used, and one sentence for each that cannot."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from casmodels.errors import SigningKeyError
from casmodels.signatures.keys import read_private_key, read_public_key
from tests.models.signatures.pems import CURVES, Pair, other_kinds, write_pair


def never() -> str:
    raise AssertionError("a password was asked for")


@pytest.mark.parametrize("curve", CURVES)
def test_the_three_curves(tmp_path: Path, curve: str) -> None:
    pair = write_pair(tmp_path, ec.generate_private_key(CURVES[curve]))
    private, public = read_private_key(pair.private, never), read_public_key(pair.public)
    assert (private.curve, public.curve) == (curve, curve)
    assert private.sha256 == public.sha256 == hashlib.sha256(pair.public.read_bytes()).hexdigest()


def test_other_ways_to_write_a_private_key(tmp_path: Path) -> None:
    key = ec.generate_private_key(CURVES["P-384"])
    pair = write_pair(tmp_path, key)
    traditional = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    pair.private.write_bytes(b"Some words before.\n" + traditional.replace(b"\n", b"\r\n"))
    assert read_private_key(pair.private, never).sha256 == read_public_key(pair.public).sha256


def test_a_key_that_openssl_makes(tmp_path: Path) -> None:
    """With its parameters before it, as it does unless it is told ``-noout``."""
    pem = tmp_path / "key.pem"
    made = subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-out", str(pem)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("openssl is not here")
    assert b"EC PARAMETERS" in pem.read_bytes()
    assert read_private_key(pem, never).curve == "P-256"


def test_a_key_from_a_pipe_is_read_once(tmp_path: Path, key: Pair) -> None:
    """As a shell gives it: ``--key <(pass show key)``."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = key.private.read_bytes()
    writer = threading.Thread(target=lambda: pipe.write_bytes(data))
    writer.start()
    assert read_private_key(pipe, never).sha256 == read_public_key(key.public).sha256
    writer.join()


def test_an_encrypted_key(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, password="sesame é")
    key = read_private_key(pair.private, lambda: "sesame é")
    assert key.sha256 == read_public_key(pair.public).sha256
    assert b"ENCRYPTED" not in key.pem
    assert "PRIVATE" not in repr(key)


@pytest.mark.parametrize(
    ("password", "said"),
    [
        (None, "is encrypted, and no password was given"),
        ("", "is encrypted, and no password was given"),
        ("wrong", "cannot be decrypted with that password"),
    ],
)
def test_an_encrypted_key_without_its_password(tmp_path: Path, password: str | None, said: str) -> None:
    pair = write_pair(tmp_path, password="sesame")
    with pytest.raises(SigningKeyError) as raised:
        read_private_key(pair.private, lambda: password)
    assert raised.value.message == f"the key {pair.private} {said}"
    assert raised.value.remedy


@pytest.mark.parametrize("kind", ["secp256k1", "RSA", "Ed25519"])
def test_other_kinds_of_keys(tmp_path: Path, kind: str) -> None:
    pair = write_pair(tmp_path, other_kinds()[kind])
    what = "of the curve secp256k1" if kind == "secp256k1" else "of no elliptic curve"
    for read, path in ((lambda path: read_private_key(path, never), pair.private), (read_public_key, pair.public)):
        with pytest.raises(SigningKeyError) as raised:
            read(path)
        assert raised.value.message == f"the key {path} is {what}: P-256, P-384, P-521 will do"
        assert raised.value.remedy is not None
        assert "openssl" in raised.value.remedy


def test_the_halves_mixed_up(key: Pair) -> None:
    with pytest.raises(SigningKeyError, match=r"is a public key, and to sign takes a private key in PEM"):
        read_private_key(key.public, never)
    with pytest.raises(SigningKeyError, match=r"is a private key, and to check takes the public one") as raised:
        read_public_key(key.private)
    assert raised.value.remedy is not None
    assert "-pubout" in raised.value.remedy


def block(label: str, content: str = "AAAA") -> str:
    return f"-----BEGIN {label}-----\n{content}\n-----END {label}-----\n"


@pytest.mark.parametrize(
    ("text", "of_private", "of_public"),
    [
        ("", "is no key", "is no key"),
        ("no PEM at all", "is no key", "is no key"),
        (block("CERTIFICATE"), "is a certificate", "is a certificate"),
        (block("PRIVATE KEY"), "cannot be read", "is a private key"),
        (block("OPENSSH PRIVATE KEY"), "cannot be read", "is a private key"),
        (block("ENCRYPTED PRIVATE KEY"), "cannot be read", "is a private key"),
        (block("PUBLIC KEY"), "is a public key", "cannot be read"),
        (block("PUBLIC KEY")[:30], "is a public key", "cannot be read"),
        ("x" * 20_000, "is too large", "is too large"),
    ],
)
def test_what_is_no_key(tmp_path: Path, text: str, of_private: str, of_public: str) -> None:
    path = tmp_path / "key.pem"
    path.write_text(text)
    with pytest.raises(SigningKeyError, match=of_private):
        read_private_key(path, lambda: "password")
    with pytest.raises(SigningKeyError, match=of_public):
        read_public_key(path)


@pytest.mark.parametrize(
    ("name", "said"), [("missing", "there is no file"), ("", "is a directory"), ("a\0b", "cannot be a path")]
)
def test_what_is_no_file(tmp_path: Path, name: str, said: str) -> None:
    for read in (lambda path: read_private_key(path, never), read_public_key):
        with pytest.raises(SigningKeyError, match=said):
            read(tmp_path / name)
