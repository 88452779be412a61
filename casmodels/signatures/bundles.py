"""What a signature says: read from its file before anybody vouches for it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

from casmodels.errors import SignatureError

MOST_BYTES: Final = 64 << 20
"""A signature has some 200 bytes for each file."""

ALGORITHMS: Final = ("sha256", "blake3")
"""Those with which model signing can check what it has signed."""

SINGLE_FILE: Final = "."
"""What model signing calls a file that is signed by itself."""

_PREDICATE: Final = "https://model_signing/signature/v1.0"
_REMEDY: Final = "take the file from where the model was published, or sign it again"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a signature claims: for each path the algorithm and the digest, which algorithm that is, whether there may
    be links, what was left out; and the SHA-256 of the public key's PEM file, None in those that do not tell."""

    key: str | None
    digests: dict[str, tuple[str, str]]
    algorithm: str
    allows_links: bool
    ignored: tuple[str, ...]

    @property
    def is_of_a_single_file(self) -> bool:
        """Whether a file was signed, not a directory."""
        return self.digests.keys() == {SINGLE_FILE}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A signature's file, as JSON, and what it claims."""

    document: dict[str, Any]
    claim: Claim

    @classmethod
    def read(cls, data: bytes, what: str) -> Bundle:
        """Read a signature's bytes; ``what`` names it in errors. Raises SignatureError."""
        if len(data) > MOST_BYTES:
            raise SignatureError(f"{what} is too large for a signature", remedy=_REMEDY)
        try:
            document = json.loads(data)
            material = document["verificationMaterial"]
            envelope = document["dsseEnvelope"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SignatureError(f"{what} is no signature of OpenSSF model signing", remedy=_REMEDY) from error
        if "publicKey" not in material:
            raise SignatureError(
                f"{what} was made with a certificate or an identity of Sigstore, and only keys are checked here",
                remedy="check a checkout with `model_signing verify`",
            )
        try:
            statement = json.loads(base64.b64decode(envelope["payload"], validate=True))
            if statement["predicateType"] != _PREDICATE:
                raise SignatureError(
                    f"{what} is of another kind than {_PREDICATE}",
                    remedy="have it signed with model-signing 1.0 or newer",
                )
            return cls(document, _claim(material["publicKey"].get("hint") or None, statement["predicate"], what))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise SignatureError(f"what {what} says is not what model signing writes", remedy=_REMEDY) from error

    def for_key(self, key: str) -> bytes:
        """The file for whoever checks it with a key: one that names no key is taken to name that one."""
        material = {**self.document["verificationMaterial"]}
        material["publicKey"] = {**material["publicKey"], "hint": self.claim.key or key}
        return json.dumps({**self.document, "verificationMaterial": material}).encode()


def _claim(key: str | None, predicate: dict[str, Any], what: str) -> Claim:
    """Raises SignatureError; KeyError, TypeError or AttributeError for what is not as it should be."""
    serialization, resources = predicate["serialization"], predicate["resources"]
    method, algorithm = _text(serialization["method"]), _text(serialization["hash_type"])
    if method != "files" or algorithm not in ALGORITHMS:
        raise SignatureError(
            f"{what} is over {method} with {algorithm}, and only files with {' or '.join(ALGORITHMS)} can be checked",
            remedy="have it signed with the defaults of model signing",
        )
    return Claim(
        key=_text(key) if key is not None else None,
        digests={_text(each["name"]): (_text(each["algorithm"]), _text(each["digest"])) for each in resources},
        algorithm=algorithm,
        allows_links=bool(serialization["allow_symlinks"]),
        ignored=tuple(_text(path) for path in serialization.get("ignore_paths", ())),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
