"""Refs: the mutable part of the store. A ref's key is (kind, name, label); its target is a digest.

=========  ==================  ==========================  ==========================================
kind       name                label                       target
=========  ==================  ==========================  ==========================================
version    the owning name     the version id's hex        that version: it lives while the ref does
tag        the owning name     the tag                     a version
pin        the owning name     the version id's hex        that version
pin        the owning name     the version id's hex.word   a record attached to that version
partial    an operation's key  the recipe's hex            a recipe that a running operation has stored
=========  ==================  ==========================  ==========================================

An attachment is a version in its own right (a tree, blobs) that says something of another one, such as its signature;
the word tells what. It is a pin since every release keeps, rebuilds and never lists what pins hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from casstore.digests import BLAKE3, Digest
from casstore.errors import InvalidInputError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,95})?\Z")
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,127}\Z")
_ATTACHED = re.compile(r"([0-9a-f]{64})\.[a-z]+\Z")


class RefKind(StrEnum):
    """What a ref does."""

    VERSION = "version"
    TAG = "tag"
    PIN = "pin"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True, order=True)
class RefKey:
    """What a ref is known by."""

    kind: RefKind
    name: str
    label: str

    @classmethod
    def attachment(cls, name: str, version: Digest, word: str) -> RefKey:
        """The key of what is attached to a version under that word, of small letters."""
        return cls(RefKind.PIN, name, f"{version.hex}.{word}")

    @property
    def attached_to(self) -> Digest | None:
        """The version that the target is attached to; None unless it is an attachment."""
        found = _ATTACHED.match(self.label) if self.kind is RefKind.PIN else None
        return Digest(BLAKE3, bytes.fromhex(found[1])) if found is not None else None


@dataclass(frozen=True, slots=True)
class Ref:
    """A ref as it stands; ``order`` grows with each ref that is newly made, for ever."""

    key: RefKey
    target: Digest
    order: int

    @property
    def is_checked(self) -> bool:
        """Whether a check looks at what is in the target: at versions and what is attached to them, each once."""
        return self.key.kind is RefKind.VERSION or self.key.attached_to is not None


def check_name(name: str) -> str:
    """Give the name back; raises InvalidInputError unless it is ``name`` or ``org/name`` in the Hub's letters."""
    if not _NAME.match(name) or ".." in name or "--" in name or name.endswith((".git", "-", ".")):
        raise InvalidInputError(
            f"{name!r} cannot be a name",
            remedy="use letters, digits, '.', '_' and '-', with at most one '/', as on the Hub",
        )
    return name


def check_label(label: str) -> str:
    """Give the tag back; raises InvalidInputError unless it is made of letters, digits, ``. _ - /``."""
    if not _LABEL.match(label) or ".." in label or label.endswith(("/", ".lock", ".")) or "//" in label:
        raise InvalidInputError(f"{label!r} cannot be a tag", remedy="use letters, digits, '.', '_', '-' and '/'")
    return label
