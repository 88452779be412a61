"""Signatures that somebody has tampered with."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import load_pem_private_key

Change = Callable[[dict[str, Any]], object]


def with_bundle(signature: bytes, change: Change) -> bytes:
    """The same with another envelope."""
    document = json.loads(signature)
    change(document)
    return json.dumps(document).encode()


def with_statement(signature: bytes, change: Change) -> bytes:
    """The same with another statement in it, which the key has not signed."""

    def put(document: dict[str, Any]) -> None:
        envelope = document["dsseEnvelope"]
        statement = json.loads(base64.b64decode(envelope["payload"]))
        change(statement)
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    return with_bundle(signature, put)


def signed_again(signature: bytes, private_pem: bytes, *, other_hash: bool = False) -> bytes:
    """The same, with what is in it signed by a key on P-256; with ``other_hash`` not by the one that goes with it."""
    key = load_pem_private_key(private_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)

    def put(document: dict[str, Any]) -> None:
        envelope = document["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"])
        kind = envelope["payloadType"].encode()
        encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
        made = key.sign(encoded, ec.ECDSA(SHA384() if other_hash else SHA256()))
        envelope["signatures"][0]["sig"] = base64.b64encode(made).decode()

    return with_bundle(signature, put)


def without(document: dict[str, Any], *keys: str) -> None:
    """Take something out."""
    for key in keys[:-1]:
        document = document[key]
    del document[keys[-1]]


def resources(statement: dict[str, Any]) -> list[dict[str, Any]]:
    """The list of files."""
    listed: list[dict[str, Any]] = statement["predicate"]["resources"]
    return listed


def doubled(statement: dict[str, Any]) -> None:
    """List each file twice."""
    statement["predicate"]["resources"] = [*resources(statement), *deepcopy(resources(statement))]
