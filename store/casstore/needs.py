"""How many bytes versions need, when many versions of one name are asked about.

Neighbouring versions share most files and chunks, so what the one before needed is remembered, and only what differs is
looked up. Memory grows with the chunks of the largest version, not with the number of versions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from casstore.digests import Digest
from casstore.engine import Engine
from casstore.errors import DamagedError, NotFoundError
from casstore.frames import FrameKind
from casstore.index.lengths import chunk_lengths
from casstore.index.reach import Reach
from casstore.records import read_outline, read_tree, read_version

_Lengths: TypeAlias = dict[bytes, int]
"""Digests, and for each the length of its frame in bytes."""


@dataclass(frozen=True, slots=True)
class _Blob:
    recipe: _Lengths
    chunks: _Lengths


class Needs:
    """Adds up frames. Nobody knows what a version needs of which a record cannot be read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._blobs: dict[Digest, _Blob] = {}
        self._lengths: _Lengths = {}

    def of_version(self, version: Digest) -> int | None:
        """The bytes of all frames that a version needs, each counted once; None where nobody knows."""
        try:
            records, chunks = self._take(version)
        except (DamagedError, NotFoundError):
            return None
        return sum(records.values()) + sum(chunks.values())

    def of_all(self, versions: Iterable[Digest], unreadable: set[Digest] | None = None) -> int:
        """The same for several versions together, but for those of which nobody knows: ``unreadable`` gets these."""
        with Reach(self._engine.ledger.database) as reach:
            before: _Lengths = {}
            for version in versions:
                try:
                    records, chunks = self._take(version)
                except (DamagedError, NotFoundError):
                    if unreadable is not None:
                        unreadable.add(version)
                    continue
                reach.add(records)
                reach.add((FrameKind.CHUNK, digest) for digest in chunks.keys() - before.keys())
                before = chunks
            return reach.stored_bytes()

    def _take(self, version: Digest) -> tuple[dict[tuple[FrameKind, bytes], int], _Lengths]:
        """A version's own records, and its chunks. Raises DamagedError or NotFoundError."""
        tree = read_version(self._engine, version).tree
        names = [(FrameKind.VERSION, version.value), (FrameKind.TREE, tree.value)]
        blobs: dict[Digest, _Blob] = {}
        for entry in read_tree(self._engine, tree).files:
            assert entry.blob is not None
            if entry.blob not in blobs:
                blobs[entry.blob] = self._blobs.get(entry.blob) or self._blob(entry.blob)
        self._blobs = blobs
        records = {name: self._record_length(*name) for name in names}
        chunks: _Lengths = {}
        for blob in blobs.values():
            records.update(((FrameKind.RECIPE, digest), length) for digest, length in blob.recipe.items())
            chunks.update(blob.chunks)
        self._lengths = chunks
        return records, chunks

    def _blob(self, sha256: Digest) -> _Blob:
        recipe = self._engine.ledger.rows.recipe_of(sha256)
        if recipe is None:
            return _Blob({}, {})
        missing = set[bytes]().union(*read_outline(self._engine, recipe).chunks())
        lengths = {digest: self._lengths[digest] for digest in missing & self._lengths.keys()}
        missing -= lengths.keys()
        while missing:
            bases = set()
            for digest, length, base in chunk_lengths(self._engine.ledger.database, missing):
                lengths[digest] = length
                if base is not None:
                    bases.add(base)
            missing = bases - lengths.keys()
        return _Blob({recipe.value: self._record_length(FrameKind.RECIPE, recipe.value)}, lengths)

    def _record_length(self, kind: FrameKind, digest: bytes) -> int:
        row = self._engine.ledger.rows.frame(kind, digest)
        return row.length if row is not None else 0
