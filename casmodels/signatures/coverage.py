"""Which files of a version a signature is about.

Model signing lists the regular files below a directory: no empty directories, no modes. A link to a file counts as a
file of those bytes if links are allowed at all; one to a directory is not followed; one that leads nowhere is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from casmodels.signatures import SIGNATURE_FILE
from casstore.trees import Entry, EntryKind, Tree

IGNORED: Final = (SIGNATURE_FILE, ".git", ".gitattributes", ".github", ".gitignore")
"""What a signature leaves out: itself, and what model signing leaves out wherever nobody tells it not to."""


@dataclass(frozen=True)
class Listing:
    """The files of a version as model signing sees its checkout."""

    tree: Tree

    @property
    def has_links(self) -> bool:
        """Whether links must be allowed."""
        return any(entry.kind is EntryKind.LINK for entry in self.tree)

    @cached_property
    def files(self) -> Mapping[str, Entry]:
        """The files by path, with links to files."""
        files = {}
        for entry in self.tree:
            end = self.tree.follow(entry.path) if entry.kind is EntryKind.LINK else entry
            if end is not None and end.kind is EntryKind.FILE:
                files[entry.path] = end
        return files

    @property
    def paths(self) -> list[str]:
        """The paths of files and of all links: a link to a directory is no file, and is in no signature."""
        return [entry.path for entry in self.tree if entry.kind is not EntryKind.DIRECTORY]

    @property
    def dead_link(self) -> str | None:
        """The path of a link that leads nowhere, if there is one."""
        links = (entry.path for entry in self.tree if entry.kind is EntryKind.LINK)
        return next((path for path in links if path not in self.files and not self.tree.is_directory(path)), None)

    def covered(self, ignored: Iterable[str] = (), listed: Iterable[str] = ()) -> dict[str, Entry]:
        """The files that a signature is about: what is ``ignored``, or lies in a directory that is, only where the
        signature ``listed`` it all the same."""
        left_out = {part for path in (*IGNORED, *ignored) if (part := _plain(path)) is not None}
        kept = frozenset(listed)
        paths = (path for path in self.files if path in kept or left_out.isdisjoint(_with_parents(path)))
        return {path: self.files[path] for path in paths}


def _plain(path: str) -> str | None:
    """A path to be ignored as trees write it; None for one that leads out of the directory. ``.`` is all of it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return None if path.startswith("/") or ".." in parts else "/".join(parts)


def _with_parents(path: str) -> set[str]:
    parts = path.split("/")
    return {"/".join(parts[:length]) for length in range(len(parts) + 1)}
