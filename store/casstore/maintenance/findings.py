"""Who suffers from a damaged frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from casstore.digests import Digest
from casstore.engine import Engine
from casstore.errors import DamagedError, NotFoundError
from casstore.frames import FrameKind
from casstore.index.lengths import chunk_lengths
from casstore.recipes import Outline
from casstore.records import read_outline, read_tree, read_version
from casstore.refs import Ref
from casstore.trees import Entry

Broken = Mapping[tuple[FrameKind, bytes], str]
"""Frames that cannot be read, each with the reason."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; fields are None where the damage is not below that level."""

    name: str | None
    version: Digest | None
    path: str | None
    frame: str | None
    reason: str


def findings(engine: Engine, refs: list[Ref], broken: Broken) -> Iterator[Finding]:
    """Walk the versions that refs name, and say for each file what it lacks; what is attached to one is told as its.

    ``broken`` are frames known to be damaged; rows that are missing, and records that cannot be read, are found on the
    way.
    """
    whole: set[tuple[Digest, Digest, int]] = set()
    for ref in refs:
        if ref.is_checked:
            yield from _of_version(engine, ref, broken, whole)


def _of_version(engine: Engine, ref: Ref, broken: Broken, whole: set[tuple[Digest, Digest, int]]) -> Iterator[Finding]:
    """Findings of one version; ``whole`` are the recipes, blobs and sizes that nothing was found about before."""
    where = (ref.key.name, ref.key.attached_to or ref.target)
    try:
        _check(FrameKind.VERSION, ref.target, broken)
        version = read_version(engine, ref.target)
        _check(FrameKind.TREE, version.tree, broken)
        tree = read_tree(engine, version.tree)
    except (DamagedError, NotFoundError) as error:
        yield Finding(*where, None, None, error.message)
        return
    for entry in tree.files:
        assert entry.blob is not None
        try:
            digest = _recipe_of(engine, entry)
            seen = (digest, entry.blob, entry.size_bytes)
            if seen in whole:
                continue
            outline = _outline(engine, entry, digest, broken)
        except (DamagedError, NotFoundError) as error:
            yield Finding(*where, entry.path, None, error.message)
            continue
        lacking = _lacking(engine, outline, broken)
        for chunk, reason in lacking.items():
            yield Finding(*where, entry.path, chunk.hex(), reason)
        if not lacking:
            whole.add(seen)


def _recipe_of(engine: Engine, entry: Entry) -> Digest:
    assert entry.blob is not None
    digest = engine.ledger.rows.recipe_of(entry.blob)
    if digest is None:
        raise NotFoundError(f"the blob {entry.blob} is missing from the store")
    return digest


def _outline(engine: Engine, entry: Entry, digest: Digest, broken: Broken) -> Outline:
    _check(FrameKind.RECIPE, digest, broken)
    outline = read_outline(engine, digest)
    if outline.sha256 != entry.blob or outline.size_bytes != entry.size_bytes:
        raise DamagedError(f"recipe {digest.hex}", "it makes another blob than the tree says")
    return outline


def _check(kind: FrameKind, digest: Digest, broken: Broken) -> None:
    """Raise DamagedError for a record that is known to be broken."""
    reason = broken.get((kind, digest.value))
    if reason is not None:
        raise DamagedError(f"{kind.name.lower()} {digest.hex}", reason)


def _lacking(engine: Engine, outline: Outline, broken: Broken) -> dict[bytes, str]:
    """The chunks of a recipe that cannot be had, each with the reason."""
    lacking = {}
    for chunks in outline.chunks():
        bases = {digest: base for digest, _, base in chunk_lengths(engine.ledger.database, chunks)}
        for chunk in chunks:
            if bases.get(chunk, chunk) is not None or (FrameKind.CHUNK, chunk) in broken:
                reason = _reason(engine, FrameKind.CHUNK, chunk, broken)
                if reason is not None:
                    lacking[chunk] = reason
    return lacking


def _reason(engine: Engine, kind: FrameKind, digest: bytes, broken: Broken) -> str | None:
    if (kind, digest) in broken:
        return broken[kind, digest]
    row = engine.ledger.rows.frame(kind, digest)
    if row is None:
        return "it is missing from the store"
    if row.base is not None:
        return _reason(engine, FrameKind.CHUNK, row.base, broken)
    return None
