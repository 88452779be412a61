"""What a file outside the store holds: told by what was noted of it, else by reading it."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from casstore import files
from casstore.digests import SHA256, Digest, sha256_digest
from casstore.errors import TooManyFilesError
from casstore.index.places import FileState, Place, PlaceKind
from casstore.trees import path_bytes

BACKDATED_NS: Final = 3_000_000_000
"""How far before the start of a run the time of the files is set that it writes.

So an edit, however soon, cannot carry the time that was noted, and the note is worth something at once: one of a file
that is younger than a file system's clock can tell is trusted by nobody.
"""


def is_known(state: FileState, status: os.stat_result, place: Place) -> bool:
    """Whether a file is surely as it was noted in a place.

    One with several hard links may change from elsewhere, so it is not. Nor is one that had: in a view it shows by
    being read-only, for as long as it is there.
    """
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_nlink == 1
        and (place.kind is not PlaceKind.VIEW or bool(status.st_mode & stat.S_IWUSR))
        and state.matches(status, place.saved_ns)
    )


def read_digest(path: Path, *, follow: bool = False) -> Digest | None:
    """The SHA-256 of a regular file's bytes.

    None if it is no regular file, may not be read, or changes meanwhile. Links are followed only with ``follow``.
    Raises TooManyFilesError.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        with open(path, "rb", buffering=0, opener=lambda name, _: os.open(name, flags)) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                return None
            digest = Digest(SHA256, hashlib.file_digest(file, "sha256").digest())
            after = os.fstat(file.fileno())
    except OSError as error:
        known = files.explain(error, path)
        if isinstance(known, TooManyFilesError):
            raise known from error  # which says nothing about the file
        return None
    unchanged = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return digest if unchanged else None


def link_target(path: Path) -> str:
    """What a symbolic link says, to the letter: `Path.readlink` would tidy it up."""
    return os.readlink(path)  # noqa: PTH115


def link_blob(target: str) -> Digest:
    """What stands for a blob in the note of a link."""
    return sha256_digest(path_bytes(target))


def link_destination(path: Path) -> Path:
    """Where a symbolic link leads in one step, told from its text alone."""
    return Path(os.path.normpath(path.parent / link_target(path)))


class Observer:
    """Tells what the files of one directory hold; reads none of them twice.

    ``place`` is what was noted of the directory, if anything.
    """

    def __init__(self, directory: Path, place: Place | None) -> None:
        self._directory = directory
        self._place = place
        self._digests: dict[tuple[str, int, int, int], Digest | None] = {}

    def noted(self, path: str) -> list[FileState]:
        """What was noted of a file, true or not: what lay there, and what a run that was cut short was to put there."""
        if self._place is None:
            return []
        return [states[path] for states in (self._place.files, self._place.unfinished) if path in states]

    def known(self, path: str, status: os.stat_result) -> FileState | None:
        """The note that a file of that status surely is as, without reading it; None if there is no such note."""
        place = self._place
        return next((state for state in self.noted(path) if place and is_known(state, status, place)), None)

    def digest(self, path: str, status: os.stat_result, *, follow: bool = False) -> Digest | None:
        """The SHA-256 of a file of that status, read if it must be; None as for `read_digest`."""
        state = self.known(path, status)
        if state is not None:
            return state.blob
        key = (path, status.st_size, status.st_mtime_ns, status.st_ino)
        if key not in self._digests:
            self._digests[key] = read_digest(self._directory / path, follow=follow)
        return self._digests[key]

    def holds(self, path: str, status: os.stat_result, blob: Digest, size_bytes: int, *, follow: bool = False) -> bool:
        """Whether a file of that status holds a blob; not read if its size tells."""
        if status.st_size != size_bytes and not (follow and stat.S_ISLNK(status.st_mode)):
            return False
        return self.digest(path, status, follow=follow) == blob
