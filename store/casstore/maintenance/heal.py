"""Healing: what is lost is taken from files that have it, and what stands on it counts again.

Everything is asked for by its digest: a chunk by its BLAKE3, a blob by its SHA-256, a tree by the BLAKE3 of its record.
So a file that only looks like the lost one, or one that is itself damaged, gives what is right in it and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from casstore.digests import BLAKE3, Digest
from casstore.engine import Engine
from casstore.errors import DamagedError, NotFoundError
from casstore.frames import FrameKind
from casstore.index.rows import BlobInfo, FrameRow, State
from casstore.maintenance.findings import Finding, findings
from casstore.maintenance.verify import Checked
from casstore.records import read_recipe, read_tree, read_version
from casstore.transactions import Transaction
from casstore.trees import Tree


@dataclass(frozen=True, slots=True)
class LostBlob:
    """A blob that is not whole: its size in bytes, a path that a version has it at, and its chunks; None where its
    recipe is lost, too."""

    size_bytes: int
    path: str
    chunks: frozenset[bytes] | None


@dataclass(frozen=True, slots=True)
class Lost:
    """What versions need and cannot be read: chunks, blobs by their SHA-256, trees."""

    chunks: frozenset[bytes]
    blobs: Mapping[Digest, LostBlob]
    trees: frozenset[Digest]

    def __bool__(self) -> bool:
        return bool(self.blobs or self.trees)


def find_lost(engine: Engine) -> Lost:
    """What a repair has set aside or missed. The caller holds a lease."""
    rows = engine.ledger.rows
    blobs: dict[Digest, LostBlob] = {}
    trees: set[Digest] = set()
    for version in {ref.target for ref in engine.ledger.refs.all() if ref.is_checked}:
        try:
            digest = read_version(engine, version).tree
        except (DamagedError, NotFoundError):
            continue  # nothing outside has a version's record
        try:
            tree = read_tree(engine, digest)
        except (DamagedError, NotFoundError):
            trees.add(digest)
            continue
        for entry in tree.files:
            assert entry.blob is not None
            if rows.blob(entry.blob) is None:
                recipe = rows.recipe_of(entry.blob)
                chunks = _chunks_of(engine, recipe) if recipe is not None else None
                blobs[entry.blob] = LostBlob(entry.size_bytes, entry.path, chunks)
    wanted: set[bytes] = set()
    for row in rows.damaged_chunks():
        wanted |= {row.digest, row.base or row.digest}
    for incomplete in rows.in_state(FrameKind.RECIPE, State.INCOMPLETE):
        wanted |= _chunks_of(engine, Digest(BLAKE3, incomplete)) or frozenset()
    lost = frozenset(chunk for chunk in wanted if not rows.is_live(FrameKind.CHUNK, chunk))
    return Lost(lost, blobs, frozenset(trees))


class Healer:
    """Takes what is lost out of files, within one transaction."""

    def __init__(self, transaction: Transaction, lost: Lost) -> None:
        self._transaction = transaction
        self._chunks = set(lost.chunks)
        self._blobs = dict(lost.blobs)
        self._trees = set(lost.trees)

    @property
    def is_done(self) -> bool:
        """Whether no file is wanted any more."""
        return not self._blobs

    @property
    def trees(self) -> frozenset[Digest]:
        """The trees that are still lost."""
        return frozenset(self._trees)

    def take(self, path: Path) -> Digest:
        """Take what a regular file has of what is lost; gives its SHA-256. Raises as `Transaction.add_file`."""
        name = self._name_for(path)
        sha256, found = self._transaction.add_lost_chunks(path, name, self._chunks)
        if found:
            self._chunks -= found
            self._blobs = {blob: lost for blob, lost in self._blobs.items() if not self._is_whole(lost)}
        lost = self._blobs.pop(sha256, None)
        if lost is not None:  # its recipe is lost as well, or was made by other rules of cutting
            self.take_blob(path, sha256, lost.path)
        return sha256

    def take_blob(self, path: Path, blob: Digest, name: str) -> None:
        """Take the whole of a file, if it is that blob and the store has not all of it. Raises as `take`, and
        DigestMismatchError."""
        if self._transaction.find_blob(blob) is None:
            self._transaction.add_file(path, name, expect=blob)

    def take_tree(self, tree: Tree) -> None:
        """Take a tree that is lost, and all of whose blobs are here. Raises InvalidInputError when one is not."""
        self._transaction.add_tree(tree)
        self._trees.discard(tree.digest)

    def _is_whole(self, blob: LostBlob) -> bool:
        return blob.chunks is not None and self._chunks.isdisjoint(blob.chunks)

    def _name_for(self, path: Path) -> str:
        """What the file was called when it was cut, if its size tells; in a Hub cache, files go by their digest."""
        size_bytes = path.stat().st_size
        return next((lost.path for lost in self._blobs.values() if lost.size_bytes == size_bytes), path.name)


def revive(engine: Engine) -> None:
    """Let count again what was set aside only for want of what is here now: deltas of a base, recipes of chunks."""
    rows = engine.ledger.rows
    while readable := [row.digest for row in rows.damaged_chunks() if row.base is not None and _reads(engine, row)]:
        with engine.ledger.locked():
            rows.set_state(FrameKind.CHUNK, readable, State.LIVE)
    with engine.ledger.locked():
        whole = []
        for value in rows.in_state(FrameKind.RECIPE, State.INCOMPLETE):
            digest = Digest(BLAKE3, value)
            chunks = _chunks_of(engine, digest)
            if chunks is not None and all(rows.is_live(FrameKind.CHUNK, chunk) for chunk in chunks):
                recipe = read_recipe(engine, digest)
                whole.append(BlobInfo(recipe.sha256, recipe.size_bytes, digest, recipe.git))
        rows.set_state(FrameKind.RECIPE, (blob.recipe.value for blob in whole), State.LIVE)
        rows.map_blobs(whole)


def still_lost(engine: Engine, checked: Checked) -> tuple[Finding, ...]:
    """Of what a check found, with its reasons, what nothing has healed since. The caller holds a lease."""
    rows = engine.ledger.rows
    broken = {name: reason for name, reason in checked.broken.items() if not rows.is_live(*name)}
    general = (finding for finding in checked.findings if finding.version is None)
    return (*general, *findings(engine, engine.ledger.refs.all(), broken))


def _reads(engine: Engine, row: FrameRow) -> bool:
    try:
        engine.content_at(row)
    except DamagedError:
        return False
    return True


def _chunks_of(engine: Engine, recipe: Digest) -> frozenset[bytes] | None:
    """The chunks of a recipe; None of one that cannot be read."""
    try:
        return frozenset(part.chunk for part in read_recipe(engine, recipe).parts)
    except (DamagedError, NotFoundError):
        return None
