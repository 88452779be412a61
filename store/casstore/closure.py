"""The closure of a ref: every frame that its target needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from casstore.digests import Digest
from casstore.engine import Engine
from casstore.frames import FrameKind
from casstore.index.lengths import chunk_lengths
from casstore.records import read_outline, read_tree, read_version
from casstore.refs import Ref, RefKind

FrameName: TypeAlias = tuple[FrameKind, bytes]
"""A frame's kind and the 32 raw bytes of its digest."""


def root_of(ref: Ref) -> tuple[FrameKind, Digest]:
    """What a ref points at: a recipe for a partial one, else a version."""
    return (FrameKind.RECIPE if ref.key.kind is RefKind.PARTIAL else FrameKind.VERSION), ref.target


def closure(
    engine: Engine,
    kind: FrameKind,
    digest: Digest,
    walked: set[bytes] | None = None,
    unmade: set[Digest] | None = None,
) -> Iterator[FrameName]:
    """Every frame that a version or a recipe needs, itself first, the bases of deltas too; some may come twice.

    Blobs and recipes in ``walked`` are left out, and those that are walked are added to it. Blobs of which no recipe is
    known are left out, too, and added to ``unmade``.

    Raises DamagedError or NotFoundError when the version, its tree or a recipe cannot be read; what a repair has
    marked as damaged is left out, since nobody can know any more what it needed.
    """
    yield kind, digest.value
    if kind is FrameKind.VERSION:
        if engine.ledger.rows.is_damaged(kind, digest.value):
            return
        tree = read_version(engine, digest).tree
        yield FrameKind.TREE, tree.value
        if engine.ledger.rows.is_damaged(FrameKind.TREE, tree.value):
            return
        for entry in read_tree(engine, tree).files:
            assert entry.blob is not None
            if walked is None or entry.blob.value not in walked:
                yield from _blob(engine, entry.blob, walked, unmade)
    elif kind is FrameKind.RECIPE and not engine.ledger.rows.is_damaged(kind, digest.value):
        yield from _chunks(engine, digest)


def _blob(engine: Engine, blob: Digest, walked: set[bytes] | None, unmade: set[Digest] | None) -> Iterator[FrameName]:
    recipe = engine.ledger.rows.recipe_of(blob)
    if recipe is None:
        if unmade is not None:
            unmade.add(blob)
    elif walked is None or recipe.value not in walked:
        yield FrameKind.RECIPE, recipe.value
        yield from _chunks(engine, recipe)
        if walked is not None:
            walked.add(recipe.value)
    if walked is not None:
        walked.add(blob.value)


def _chunks(engine: Engine, digest: Digest) -> Iterator[FrameName]:
    for chunks in read_outline(engine, digest).chunks():
        yield from with_bases(engine, set(chunks))


def with_bases(engine: Engine, chunks: set[bytes]) -> Iterator[FrameName]:
    """These chunks, what they are stored against, and what that is."""
    found, seen = chunks, set[bytes]()
    while found:
        for chunk in found:
            yield FrameKind.CHUNK, chunk
        seen |= found
        lengths = chunk_lengths(engine.ledger.database, found)
        found = {base for _, _, base in lengths if base is not None} - seen
