"""A directory or a file on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from casstore.trees import EntryKind


@dataclass(frozen=True, slots=True)
class LocalEntry:
    """One path below the root. ``source`` is where a file's bytes lie (elsewhere for a followed link); times
    in ns.
    """

    path: str
    kind: EntryKind
    source: Path
    size_bytes: int = 0
    mtime_ns: int = 0
    inode: int = 0
    mode: int = 0o644
    target: str = ""


@dataclass(frozen=True, slots=True)
class LocalListing:
    """A directory's entries, sorted by their path's bytes; ``is_file`` when the root is a single file."""

    root: Path
    entries: tuple[LocalEntry, ...]
    is_file: bool = False

    @property
    def size_bytes(self) -> int:
        """The sum of the files' sizes."""
        return sum(entry.size_bytes for entry in self.entries)


def scan(root: Path, *, outside: Sequence[Path] = ()) -> LocalListing:
    """List a directory or a file. No place of ``outside`` (the store) may lie in it, nor it in one of them.

    Raises NotFoundError, InvalidInputError (a fifo, a socket, a device, a link that leaves the directory, the
    store inside) and FailedError (what cannot be read).
    """
    raise NotImplementedError
