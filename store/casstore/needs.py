"""How many bytes versions need, when many versions of one name are asked about.

Neighbouring versions share most files and chunks, so only what differs from the one before is looked up. Memory grows
with the recipes of the largest version, 40 bytes for each chunk, not with the number of versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from casstore.closure import FrameName, with_bases
from casstore.digests import Digest
from casstore.engine import Engine
from casstore.errors import DamagedError, NotFoundError
from casstore.frames import FrameKind
from casstore.index.counted import CountedChunks, counted_chunks
from casstore.index.reach import Reach
from casstore.recipes import Outline
from casstore.records import read_outline
from casstore.trees import Tree
from casstore.versions import Version


def bytes_of_each(engine: Engine, versions: Iterable[tuple[Version, Tree] | None]) -> Iterator[int | None]:
    """The bytes of all frames that a version needs, each counted once; for one version after the other.

    None where a recipe cannot be read, since nobody knows what it needs, and for None.
    """
    with counted_chunks(engine.ledger.database) as chunks:
        before: dict[Digest, _Recipe] = {}
        for content in versions:
            recipes = _recipes(engine, content[1], before) if content is not None else None
            if content is None or recipes is None:
                yield None
                continue
            version, _ = content
            _change(chunks, before, recipes)
            records = {recipe.name: recipe.length for recipe in recipes.values()}
            own_bytes = sum(_length(engine, *name) for name in _own_records(version))
            yield own_bytes + sum(records.values()) + chunks.stored_bytes
            before = recipes


def bytes_of_all(engine: Engine, versions: Iterable[tuple[Version, Tree]], unreadable: set[Digest]) -> int:
    """The same for several versions together, without files whose recipe cannot be read: ``unreadable`` gets the
    versions that have such."""
    with Reach(engine.ledger.database) as reach:
        reach.add(_names(engine, versions, unreadable))
        return reach.stored_bytes()


def _names(engine: Engine, versions: Iterable[tuple[Version, Tree]], unreadable: set[Digest]) -> Iterator[FrameName]:
    seen: set[Digest] = set()
    lost: set[Digest] = set()
    for version, tree in versions:
        yield from ((kind, digest.value) for kind, digest in _own_records(version))
        blobs = _blobs(tree)
        for blob in blobs - seen:
            try:
                recipe = _recipe(engine, blob)
            except (DamagedError, NotFoundError):
                lost.add(blob)
                continue
            if recipe.name is not None and recipe.outline is not None:
                yield FrameKind.RECIPE, recipe.name.value
                for chunks in recipe.outline.chunks():
                    yield from with_bases(engine, set(chunks))
        seen |= blobs
        if not lost.isdisjoint(blobs):
            unreadable.add(version.id)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How a blob is made, and its frame's length in bytes; without a name where the store has no recipe for it."""

    name: Digest | None = None
    outline: Outline | None = None
    length: int = 0


def _change(chunks: CountedChunks, before: dict[Digest, _Recipe], after: dict[Digest, _Recipe]) -> None:
    """Let the chunks of these recipes be counted instead of those of the recipes before."""
    if before.keys().isdisjoint(after):
        chunks.clear()
    else:
        chunks.take_away(_chunks(before[blob] for blob in before.keys() - after.keys()))
    chunks.add(_chunks(after[blob] for blob in after.keys() - before.keys()))


def _chunks(recipes: Iterable[_Recipe]) -> Iterator[bytes]:
    for recipe in recipes:
        if recipe.outline is not None:
            for some in recipe.outline.chunks():
                yield from some


def _own_records(version: Version) -> tuple[tuple[FrameKind, Digest], ...]:
    return (FrameKind.VERSION, version.id), (FrameKind.TREE, version.tree)


def _blobs(tree: Tree) -> set[Digest]:
    return {entry.blob for entry in tree.files if entry.blob is not None}


def _recipes(engine: Engine, tree: Tree, known: Mapping[Digest, _Recipe]) -> dict[Digest, _Recipe] | None:
    """Those of a tree's blobs; None where one cannot be read."""
    try:
        return {blob: known.get(blob) or _recipe(engine, blob) for blob in _blobs(tree)}
    except (DamagedError, NotFoundError):
        return None


def _recipe(engine: Engine, blob: Digest) -> _Recipe:
    name = engine.ledger.rows.recipe_of(blob)
    if name is None:
        return _Recipe()
    return _Recipe(name, read_outline(engine, name), _length(engine, FrameKind.RECIPE, name))


def _length(engine: Engine, kind: FrameKind, digest: Digest) -> int:
    row = engine.ledger.rows.frame(kind, digest.value)
    return row.length if row is not None else 0
