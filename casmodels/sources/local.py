"""A directory or a file on this machine."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casstore import files
from casstore.errors import (
    ChangedWhileReadError,
    FailedError,
    InvalidInputError,
    NotFoundError,
    StoreError,
    TooManyFilesError,
)
from casstore.trees import EntryKind, check_links, path_bytes, path_text

_STRANGE: Final = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_SNAPSHOTS: Final = "snapshots"
_BLOBS: Final = "blobs"


@dataclass(frozen=True, slots=True)
class LocalEntry:
    """One path below the root, with ``/`` between its parts and any bytes in them (``surrogateescape``).

    ``source`` is where a file's bytes lie: elsewhere for a link that is followed. ``mtime_ns`` and ``inode``
    are those of the source; ``mode`` is the permission bits.
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
    """A directory's entries, sorted by their path's bytes: files, links, and directories that are empty.

    ``is_file`` when the root is a single file; its entry goes by its name. ``is_snapshot`` when links into a
    Hub cache's blobs were followed.
    """

    root: Path
    entries: tuple[LocalEntry, ...]
    is_file: bool = False
    is_snapshot: bool = False

    @property
    def size_bytes(self) -> int:
        """The sum of the files' sizes."""
        return sum(entry.size_bytes for entry in self.entries)


def scan(root: Path, *, outside: Sequence[Path] = ()) -> LocalListing:
    """List a directory or a file. No place of ``outside`` (the store) may lie in it, nor it in one of them.

    Links inside are kept as links, those to directories too, so that no loop is ever entered. In a Hub
    snapshot the links into its own ``blobs`` are followed. What is read is only names and metadata.

    Raises NotFoundError; InvalidInputError for a fifo, socket or device, a link that leaves the directory,
    and the store inside; FailedError for what cannot be read, ChangedWhileReadError for what vanishes.
    """
    top = Path.cwd() / root
    found = _stat(top)
    real = top.resolve()
    for place in outside:
        refuse_overlap(top, place)
    if stat.S_ISREG(found.st_mode):
        return LocalListing(root, (_file(top.name, real, found),), is_file=True)
    if not stat.S_ISDIR(found.st_mode):
        raise _strange(top, found)
    entries = sorted(_walk(top, _blob_folders(real)), key=lambda entry: path_bytes(entry.path))
    try:
        check_links({entry.path: entry.target for entry in entries if entry.kind is EntryKind.LINK})
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{_shown(top)}: {error.message}", remedy="put the file itself there, or remove the link"
        ) from error
    followed = any(not entry.source.is_relative_to(top) for entry in entries)
    return LocalListing(root, tuple(entries), is_snapshot=followed)


def _walk(top: Path, blobs: Sequence[Path]) -> Iterator[LocalEntry]:
    ahead = [top]
    while ahead:
        here = ahead.pop()
        with _readable(here), os.scandir(here) as listing:
            children = list(listing)
            found = here.stat()
        if here != top and not children:
            yield _entry(_below(top, here), EntryKind.DIRECTORY, here, found)
        for child in children:
            source = here / child.name
            with _readable(source):
                found = child.stat(follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                ahead.append(source)
            elif stat.S_ISLNK(found.st_mode):
                yield _link(_below(top, source), source, found, blobs)
            elif stat.S_ISREG(found.st_mode):
                yield _file(_below(top, source), source, found)
            else:
                raise _strange(source, found)


def _below(top: Path, source: Path) -> str:
    """A path of the tree, whatever encoding this system has for file names."""
    return path_text(os.fsencode(source.relative_to(top).as_posix()))


def _entry(path: str, kind: EntryKind, source: Path, found: os.stat_result, target: str = "") -> LocalEntry:
    size_bytes = found.st_size if kind is EntryKind.FILE else 0
    mode = stat.S_IMODE(found.st_mode) & 0o777
    return LocalEntry(path, kind, source, size_bytes, found.st_mtime_ns, found.st_ino, mode, target)


def _file(path: str, source: Path, found: os.stat_result) -> LocalEntry:
    if not os.access(source, os.R_OK):
        raise _unreadable(source, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return _entry(path, EntryKind.FILE, source, found)


def _link(path: str, source: Path, found: os.stat_result, blobs: Sequence[Path]) -> LocalEntry:
    """A link as it is, or in a Hub snapshot the blob that it stands for."""
    with _readable(source):
        target = path_text(os.fsencode(source.readlink()))
    if blobs:
        end = Path(os.path.realpath(source))
        if any(end.is_relative_to(folder) for folder in blobs):
            if not end.is_file():
                raise FailedError(
                    f"{_shown(source)} stands for a blob that the Hub cache does not have",
                    remedy="let the Hub's own client finish the download",
                )
            return _file(path, end, _stat(end))
    return _entry(path, EntryKind.LINK, source, found, target)


def _blob_folders(real: Path) -> list[Path]:
    """Where the links of a Hub snapshot may lead: the blobs of its repo, and those that the cache's repos share."""
    for commit in (real, *real.parents):
        repo = commit.parent.parent
        if commit.parent.name == _SNAPSHOTS and (repo / _BLOBS).is_dir():
            return [(repo / _BLOBS).resolve(), (repo.parent / _BLOBS).resolve()]
    return []


def refuse_overlap(top: Path, place: Path) -> None:
    """Raise InvalidInputError where a directory to be saved holds a place (the store), or lies in it."""
    real, place = top.resolve(), place.resolve()
    if place.is_relative_to(real):
        where = f"the store {_shown(place)} lies in {_shown(top)}"
    elif real.is_relative_to(place):
        where = f"{_shown(top)} lies in the store {_shown(place)}"
    else:
        return
    raise InvalidInputError(f"{where}, so it cannot be saved there", remedy="use another store, or another directory")


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"{_shown(path)} does not exist", remedy="check the path") from error
    except OSError as error:
        raise _unreadable(path, error) from error


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the system says of a path that was listed a moment ago into one sentence."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ChangedWhileReadError(_shown(path)) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> StoreError:
    known = files.explain(error, _shown(path))
    if isinstance(known, TooManyFilesError):
        return known
    reason = error.strerror or str(error)
    return FailedError(f"{_shown(path)} cannot be read: {reason}", remedy="make it readable, or leave it out")


def _strange(path: Path, found: os.stat_result) -> InvalidInputError:
    what = _STRANGE.get(stat.S_IFMT(found.st_mode), "neither a file, a directory nor a link")
    return InvalidInputError(f"{_shown(path)} is {what}, which cannot be saved", remedy="remove it, then try again")


def _shown(path: Path) -> str:
    """A path for a message, on one line."""
    text = str(path)
    return text if text.isprintable() else repr(text)
