"""What a name has held before: tells the bytes that a store wrote from the bytes that a user did."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from casmodels.views.contents import Observer, link_target
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.refs import RefKind
from casstore.trees import Entry, EntryKind, Tree


class History:
    """The trees of all versions of some names, read when first needed, newest first."""

    def __init__(self, reader: Reader, names: Iterable[str]) -> None:
        self._reader = reader
        self._names = tuple(dict.fromkeys(names))

    @cached_property
    def trees(self) -> list[Tree]:
        """One tree per version; those that are lost are passed over."""
        refs = [ref for name in self._names for ref in self._reader.refs(RefKind.VERSION, name)]
        newest_first = sorted(refs, key=lambda ref: ref.order, reverse=True)
        trees: dict[Digest, Tree] = {}
        for ref in newest_first:
            tree = read_tree(self._reader, ref.target)
            if tree is not None:
                trees.setdefault(tree.digest, tree)
        return list(trees.values())

    @cached_property
    def _by_path(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for tree in self.trees:
            for entry in tree:
                found.setdefault(entry.path, []).append(entry)
        return found

    def has_blob(self, path: str, blob: Digest) -> bool:
        """Whether some version held that blob at that path."""
        return any(entry.blob == blob for entry in self._by_path.get(path, ()))

    def has_size(self, path: str, size_bytes: int) -> bool:
        """Whether some version held a file of that size at that path: else its bytes need not be read."""
        return any(entry.blob is not None and entry.size_bytes == size_bytes for entry in self._by_path.get(path, ()))

    def can_give(self, blob: Digest) -> bool:
        """Whether the store still has a blob."""
        return self._reader.find_blob(blob) is not None

    def has_link(self, path: str, target: str) -> bool:
        """Whether some version held a link to that target at that path."""
        return any(entry.kind is EntryKind.LINK and entry.target == target for entry in self._by_path.get(path, ()))

    def tree_in(self, directory: Path, observer: Observer) -> Tree | None:
        """The newest version's tree that lies in a directory, complete and unchanged."""
        for tree in self.trees:
            # All sizes before any content: a version that is not there should cost no reading.
            looks_like = bool(tree.files) and all(_looks_like(directory / entry.path, entry) for entry in tree)
            if looks_like and all(_holds(directory / entry.path, entry, observer) for entry in tree.files):
                return tree
        return None


def read_tree(reader: Reader, version: Digest) -> Tree | None:
    """A version's tree, None when the store has it no more. Raises UnreadableError when the disk fails to give it: the
    files of that version would be taken for a user's."""
    found = reader.version_unless_lost(version)
    return reader.tree_unless_lost(found.tree) if found is not None else None


def _looks_like(path: Path, entry: Entry) -> bool:
    try:
        status = path.lstat()
        if entry.kind is EntryKind.LINK:
            return stat.S_ISLNK(status.st_mode) and link_target(path) == entry.target
    except OSError:
        return False
    if entry.kind is EntryKind.DIRECTORY:
        return stat.S_ISDIR(status.st_mode)
    return stat.S_ISREG(status.st_mode) and status.st_size == entry.size_bytes


def _holds(path: Path, entry: Entry, observer: Observer) -> bool:
    assert entry.blob is not None
    return observer.holds(entry.path, path.lstat(), entry.blob, entry.size_bytes)


def parents(path: str) -> Iterator[str]:
    """The directories above a path, the nearest first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
