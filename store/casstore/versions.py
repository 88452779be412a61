"""Versions: immutable records that say what a name held at one time. FORMAT.md, "Versions", gives the bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from casstore.digests import Digest, blake3_digest
from casstore.errors import DamagedError, InvalidInputError

_FORMAT = 1


@dataclass(frozen=True)
class Version:
    """One state of a name.

    ``tree`` is the tree's digest; ``parent`` the version's that it came from (information only: nothing is kept
    alive by it); ``source`` says where the files came from (``hf://org/name``, ``file:///…``, a URL); ``created_ns``
    is nanoseconds since 1970 UTC; ``metadata`` is JSON without floats (the upstream revision under ``revision``).
    """

    tree: Digest
    parent: Digest | None
    source: str
    created_ns: int
    message: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def encoded(self) -> bytes:
        """The canonical bytes: JSON in ASCII, keys sorted, no spaces. Raises InvalidInputError for what JSON has no
        single form of, such as a float."""
        _check_canonical(self.metadata)
        record = {
            "created_ns": self.created_ns,
            "format": _FORMAT,
            "message": self.message,
            "metadata": self.metadata,
            "parent": str(self.parent) if self.parent is not None else None,
            "source": self.source,
            "tree": str(self.tree),
        }
        return json.dumps(record, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode("ascii")

    @cached_property
    def id(self) -> Digest:
        """The BLAKE3 of the canonical bytes: the version's name."""
        return blake3_digest(self.encoded)

    @property
    def revision(self) -> str | None:
        """Upstream's name of this state, where there is one."""
        revision = self.metadata.get("revision")
        return revision if isinstance(revision, str) else None

    @classmethod
    def decode(cls, data: bytes, digest: Digest) -> Version:
        """Read the canonical bytes of the version of that id; raises DamagedError for anything else."""
        what = f"version {digest.hex}"
        if blake3_digest(data) != digest:
            raise DamagedError(what, "its bytes do not match its id")
        try:
            record = json.loads(data)
            if record["format"] != _FORMAT:
                raise DamagedError(what, f"its format is {record['format']}, not {_FORMAT}")
            parent = Digest.parse(record["parent"]) if record["parent"] is not None else None
            version = cls(
                tree=Digest.parse(record["tree"]),
                parent=parent,
                source=record["source"],
                created_ns=record["created_ns"],
                message=record["message"],
                metadata=record["metadata"],
            )
            if not _has_right_types(version) or version.encoded != data:
                raise DamagedError(what, "it is not encoded as it should be")
            return version
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidInputError) as error:
            raise DamagedError(what, "it is not a version record") from error


def _has_right_types(version: Version) -> bool:
    """Whether the fields that JSON gave are what the class says, and the time is one that a clock can show."""
    return (
        isinstance(version.metadata, dict)
        and isinstance(version.source, str)
        and isinstance(version.message, str)
        and type(version.created_ns) is int
        and -(1 << 63) <= version.created_ns <= 1 << 63
    )


def _check_canonical(value: object) -> None:
    """Raise InvalidInputError unless JSON gives the value back as it is, and always in the same bytes."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidInputError(f"a version's metadata may not have the key {key!r}: keys are text")
            _check_canonical(item)
    elif isinstance(value, list):
        for item in value:
            _check_canonical(item)
    elif not isinstance(value, str | int | None):
        raise InvalidInputError(
            f"a version's metadata may not hold {value!r}: only text, whole numbers, true, false, null, lists and "
            "objects have one canonical form"
        )
