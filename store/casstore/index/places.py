"""Places: what the store saw or wrote at a directory outside, so that unchanged files need no reading.

Size, modification time and inode tell whether a file is as it was, with git's rule for racy timestamps: a file whose
time is not clearly before the moment when the place was saved may have changed within the clock's grain, and is not
trusted. Losing a place costs a re-reading, and the knowledge which files were the store's own.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from casstore.digests import SHA256, Digest
from casstore.errors import InvalidInputError, NeedsRepairError
from casstore.index.database import Database

_RACY_NS = 20_000_000
"""Two ticks of a 100 Hz kernel clock: the grain of file times on Linux and macOS file systems with nanoseconds."""
_COARSE_RACY_NS = 2_000_000_000
"""The grain of file systems that keep whole (FAT: even) seconds."""


class PlaceKind(StrEnum):
    """How the files came to be there."""

    CHECKOUT = "checkout"
    CHECKPOINT = "checkpoint"
    VIEW = "view"
    CATEGORY = "category"

    @property
    def is_view(self) -> bool:
        """Whether it belongs to a view, and so is the store's own rather than the user's."""
        return self in (PlaceKind.VIEW, PlaceKind.CATEGORY)


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it was when its content was known: bytes, nanoseconds, inode number, and the content's SHA-256."""

    size_bytes: int
    mtime_ns: int
    inode: int
    blob: Digest

    @classmethod
    def of(cls, status: os.stat_result, blob: Digest) -> FileState:
        """The state of a file of that status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, blob)

    def doubted(self) -> FileState:
        """The same content in a state that no file has: what lies there may hold it, and has to be read."""
        return replace(self, mtime_ns=0, inode=0)

    def matches(self, status: os.stat_result, saved_ns: int) -> bool:
        """Whether a file of that status surely still has the content; ``saved_ns`` is when the place was saved."""
        if (self.size_bytes, self.mtime_ns, self.inode) != (status.st_size, status.st_mtime_ns, status.st_ino):
            return False
        grain_ns = _RACY_NS if self.mtime_ns % 1_000_000_000 else _COARSE_RACY_NS
        return self.mtime_ns + grain_ns < saved_ns


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of a directory (or, for a checkpoint of one file, that file): times are ns since 1970 UTC.

    ``unfinished`` is what a run that has not ended was to put in some paths, or to take away there: at each the disk
    may hold this or what ``files`` says, and after a power cut the one again where the other had been seen.
    """

    path: str
    kind: PlaceKind
    name: str
    version: Digest
    files: Mapping[str, FileState]
    saved_ns: int
    used_ns: int = 0
    unfinished: Mapping[str, FileState] = field(default_factory=dict)


class Places:
    """Look-ups and changes of places. A place is known by its absolute path."""

    def __init__(self, database: Database, writing: Callable[[], AbstractContextManager[None]]) -> None:
        self._database = database
        self._writing = writing

    def load(self, directory: Path) -> Place | None:
        """What is known of a directory."""
        rows = self._database.execute(f"SELECT {_COLUMNS} FROM places WHERE path = ?", (_key(directory),))
        return _place(rows[0]) if rows else None

    def save(self, place: Place) -> None:
        """Remember a place, instead of what was known of it before."""
        with self._writing():
            self._put(_key(place.path), place)

    def take_over(self, places: Iterable[Place]) -> None:
        """Remember what another index knew, whoever may have damaged it or how old it may be: no file is believed to
        be as it was noted."""
        for place in places:
            files, unfinished = (
                {path: state.doubted() for path, state in states.items()} for states in (place.files, place.unfinished)
            )
            self._put(os.fsencode(place.path), replace(place, files=files, unfinished=unfinished))

    def _put(self, key: bytes, place: Place) -> None:
        files, unfinished = (
            {path: (state.size_bytes, state.mtime_ns, state.inode, state.blob.hex) for path, state in states.items()}
            for states in (place.files, place.unfinished)
        )
        noted = [files, unfinished] if unfinished else files
        packed = zlib.compress(json.dumps(noted, separators=(",", ":")).encode("ascii"), 1)
        used_ns = place.used_ns or time.time_ns()
        row = (key, place.kind, place.name, str(place.version), place.saved_ns, used_ns, packed)
        self._database.execute(f"INSERT OR REPLACE INTO places ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def forget(self, directory: Path) -> None:
        """Know nothing of a directory any more."""
        with self._writing():
            self._database.execute("DELETE FROM places WHERE path = ?", (_key(directory),))

    def all(self, kind: PlaceKind | None = None, name: str | None = None) -> list[Place]:
        """The places of a kind, of a name, or both; last saved first."""
        rows = self._database.execute(
            f"SELECT {_COLUMNS} FROM places WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR name = ?2) "
            "ORDER BY saved_ns DESC",
            (kind, name),
        )
        return [_place(row) for row in rows]

    def touch(self, directory: Path) -> None:
        """Note that a place was used now."""
        with self._writing():
            self._database.execute("UPDATE places SET used_ns = ? WHERE path = ?", (time.time_ns(), _key(directory)))


_COLUMNS = "path, kind, name, version, saved_ns, used_ns, files"


def _key(directory: Path | str) -> bytes:
    """A path as bytes, since SQLite's text cannot hold names that are no UTF-8."""
    return os.fsencode(Path(directory).resolve())


def _place(row: tuple[object, ...]) -> Place:
    """A place from its row. Raises NeedsRepairError for one that nobody has written so."""
    path, kind, name, version, saved_ns, used_ns, packed = row
    try:
        if not (isinstance(path, bytes) and isinstance(packed, bytes)):
            raise TypeError
        if not (isinstance(saved_ns, int) and isinstance(used_ns, int)):
            raise TypeError
        noted = json.loads(zlib.decompress(packed))
        files, unfinished = (
            {
                file: FileState(size_bytes, mtime_ns, inode, Digest(SHA256, bytes.fromhex(blob)))
                for file, (size_bytes, mtime_ns, inode, blob) in states.items()
            }
            for states in (noted if isinstance(noted, list) else (noted, {}))
        )
        target = Digest.parse(str(version))
        return Place(os.fsdecode(path), PlaceKind(str(kind)), str(name), target, files, saved_ns, used_ns, unfinished)
    except (TypeError, ValueError, AttributeError, zlib.error, InvalidInputError) as error:
        raise NeedsRepairError("the index is damaged where it notes what lies in directories") from error
