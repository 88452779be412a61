"""The catalog: what one operation can see of a store while it holds its lease."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from casstore.blobs import BlobReader
from casstore.closure import closure
from casstore.digests import BLAKE3, Digest
from casstore.engine import Engine
from casstore.errors import DamagedError, InvalidInputError, NotFoundError, UnreadableError
from casstore.frames import FrameKind
from casstore.index.reach import Reach
from casstore.index.rows import BlobInfo
from casstore.recipes import Recipe
from casstore.records import read_recipe, read_tree, read_version
from casstore.refs import Ref, RefKey, RefKind
from casstore.trees import Tree
from casstore.versions import Version

_T = TypeVar("_T")
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Usage:
    """Where bytes go: chunks, their bytes before encoding, bytes of all that is stored, of the index, and for each
    codec its number, chunks, bytes before encoding and of the frames."""

    chunks: int
    raw_bytes: int
    stored_bytes: int
    index_bytes: int
    by_codec: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Census:
    """How much there is, as far as that is known without going through every frame."""

    names: int
    versions: int
    packs_bytes: int


class Reader:
    """Look-ups of blobs, recipes, trees, versions and refs. Safe for threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find_blob(self, digest: Digest) -> BlobInfo | None:
        """A blob by its SHA-256 or its git id; None unless the store has all of it."""
        return self._engine.ledger.rows.blob(digest)

    def open_blob(self, sha256: Digest) -> BlobReader:
        """A blob for reading. Raises NotFoundError, or DamagedError when its recipe is wrong."""
        digest = self._engine.ledger.rows.recipe_of(sha256)
        if digest is None:
            raise NotFoundError(f"the blob {sha256} is not in the store")
        recipe = self.recipe(digest)
        if recipe.sha256 != sha256:
            raise DamagedError(f"recipe {digest.hex}", f"it makes another blob than {sha256}")
        return BlobReader(self._engine, recipe)

    def recipe(self, digest: Digest) -> Recipe:
        """A recipe. Raises NotFoundError or DamagedError, as do `tree` and `version`."""
        return read_recipe(self._engine, digest)

    def tree(self, digest: Digest) -> Tree:
        """A tree."""
        return read_tree(self._engine, digest)

    def version(self, digest: Digest) -> Version:
        """A version."""
        return read_version(self._engine, digest)

    def tree_unless_lost(self, digest: Digest) -> Tree | None:
        """A tree, None for one that is damaged or gone. Raises UnreadableError when the disk fails to give it."""
        return _unless_lost(self.tree, digest)

    def version_unless_lost(self, digest: Digest) -> Version | None:
        """The same for a version."""
        return _unless_lost(self.version, digest)

    def refs(self, kind: RefKind | None = None, name: str | None = None) -> list[Ref]:
        """The refs of a kind, of a name, or both, in the order in which they were made."""
        return self._engine.ledger.refs.all(kind, name)

    def ref(self, key: RefKey) -> Ref | None:
        """One ref."""
        return self._engine.ledger.refs.get(key)

    def versions_with_prefix(self, prefix: str) -> list[Digest]:
        """The versions whose id begins with these hex digits, those included that no ref names and gc has not taken."""
        if not prefix or len(prefix) > 64 or not _HEX.issuperset(prefix):
            raise InvalidInputError(f"{prefix!r} is not the beginning of a version id")
        low, high = bytes.fromhex(prefix.ljust(64, "0")), bytes.fromhex(prefix.ljust(64, "f"))
        return [Digest(BLAKE3, value) for value in self._engine.ledger.rows.with_prefix(FrameKind.VERSION, low, high)]

    def census(self) -> Census:
        """How much there is, told at once however large the store is."""
        names, versions = self._engine.ledger.refs.count(RefKind.VERSION)
        return Census(names, versions, self._engine.ledger.rows.packs_bytes())

    def usage(self, versions: Iterable[Digest] | None = None) -> Usage:
        """Where the bytes go: in the whole store, or in what some versions need, each frame counted once."""
        rows, layout = self._engine.ledger.rows, self._engine.layout
        index_bytes = sum(_size_bytes(path) for path in layout.root.glob("index.sqlite3*"))
        if versions is None:
            chunks, raw_bytes, _ = rows.totals()
            others = sum(map(_size_bytes, (layout.journal, layout.mark, layout.reserve)))
            stored_bytes = rows.packs_bytes() + index_bytes + others
            return Usage(chunks, raw_bytes, stored_bytes, index_bytes, tuple(rows.by_codec()))
        with Reach(self._engine.ledger.database) as reach:
            walked: set[bytes] = set()
            for version in versions:
                reach.add(closure(self._engine, FrameKind.VERSION, version, walked))
            by_codec = reach.by_codec()
            chunks, raw_bytes = (sum(tally[position] for tally in by_codec) for position in (1, 2))
            return Usage(chunks, raw_bytes, reach.stored_bytes(), index_bytes, tuple(by_codec))

    def stored_bytes(self, versions: Iterable[tuple[Version, Tree]], unreadable: set[Digest] | None = None) -> int:
        """The bytes of all frames that these versions, each with its tree, need together, each counted once.

        Of files whose recipe cannot be read nothing counts; ``unreadable`` gets the versions that have such.
        """
        from casstore.needs import bytes_of_all

        return bytes_of_all(self._engine, versions, unreadable if unreadable is not None else set())

    def stored_bytes_of_each(self, versions: Iterable[tuple[Version, Tree] | None]) -> Iterator[int | None]:
        """The same for each version by itself; neighbours that share much are fast. None where a record cannot be
        read, and for None."""
        from casstore.needs import bytes_of_each

        return bytes_of_each(self._engine, versions)


def _unless_lost(read: Callable[[Digest], _T], digest: Digest) -> _T | None:
    try:
        return read(digest)
    except UnreadableError:
        raise
    except (DamagedError, NotFoundError):
        return None


def _size_bytes(path: Path) -> int:
    """A file's own size; 0 when it is not there, or has just gone: SQLite's log does when another closes the index."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0
