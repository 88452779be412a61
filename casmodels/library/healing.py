"""Where files may lie that have what a store has lost: where the user says, and every place that the store knows."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from casmodels.progress import Progress, SilentProgress
from casmodels.sources.local import LocalListing, scan
from casmodels.views.contents import read_digest
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.errors import DamagedError, FailedError, IntegrityError, InvalidInputError, NotFoundError
from casstore.index.places import Place
from casstore.maintenance.heal import Healer, Lost
from casstore.refs import RefKind
from casstore.trees import Entry, EntryKind, Tree


@dataclass(slots=True)
class Search:
    """Looks through directories and files for what is lost. ``unread`` are paths that could not be read."""

    healer: Healer
    lost: Lost
    store_directory: Path
    progress: Progress = field(default_factory=SilentProgress)
    unread: list[str] = field(default_factory=list)
    _seen: set[tuple[int, int]] = field(default_factory=set)
    _digests: dict[Path, Digest | None] = field(default_factory=dict)

    def through(self, given: Sequence[Path], known: Sequence[Path]) -> None:
        """Look at files as large as lost ones first, then at all others that were given, until nothing is lost."""
        sizes = {blob.size_bytes for blob in self.lost.blobs.values()}
        self._take(self._files((*given, *known)), lambda size_bytes: size_bytes in sizes)
        self._take(self._files(given), lambda _: True)
        if self.healer.trees:
            for directory in self._directories((*given, *known)):
                self._take_tree(directory)

    def _take(self, paths: Iterable[Path], fits: Callable[[int], bool]) -> None:
        for path in paths:
            if self.healer.is_done:
                return
            try:
                status = path.stat()
                if not stat.S_ISREG(status.st_mode) or not fits(status.st_size):
                    continue
                if (status.st_dev, status.st_ino) in self._seen:
                    continue
                self._seen.add((status.st_dev, status.st_ino))
                task = self.progress.start(str(path), status.st_size)
                self._digests[path] = self.healer.take(path)
                task.done()
            except FileNotFoundError:
                continue
            except (OSError, NotFoundError, InvalidInputError, FailedError, IntegrityError):
                self.unread.append(str(path))

    def _take_tree(self, directory: Path) -> None:
        """Take a directory's listing, if it is one that is lost, and the files that are lost with it."""
        try:
            listing = scan(directory)
            tree = self._tree(listing)
            if tree is None or tree.digest not in self.healer.trees:
                return
            for entry, found in zip(tree, listing.entries, strict=True):
                if entry.blob is not None:
                    self.healer.take_blob(found.source, entry.blob, entry.path)
            self.healer.take_tree(tree)
        except (OSError, NotFoundError, InvalidInputError, FailedError, IntegrityError):
            return  # a directory that nobody could save is none that was saved

    def _tree(self, listing: LocalListing) -> Tree | None:
        entries = []
        for found in listing.entries:
            if found.kind is EntryKind.LINK:
                entries.append(Entry.link(found.path, found.target))
            elif found.kind is EntryKind.DIRECTORY:
                entries.append(Entry.directory(found.path, found.mode))
            else:
                if found.source not in self._digests:
                    self._digests[found.source] = read_digest(found.source)
                blob = self._digests[found.source]
                if blob is None:
                    return None
                entries.append(Entry.file(found.path, blob, found.size_bytes, found.mode))
        return Tree.of(entries)

    def _files(self, tops: Iterable[Path]) -> Iterator[Path]:
        for top in tops:
            if not top.is_dir():
                yield top
                continue
            for here, names in self._walk(top):
                yield from (here / name for name in sorted(names))

    def _directories(self, tops: Iterable[Path]) -> Iterator[Path]:
        for top in tops:
            if not top.is_dir():
                yield top  # a version of a single file
                continue
            for here, _ in self._walk(top):
                yield here

    def _walk(self, top: Path) -> Iterator[tuple[Path, list[str]]]:
        """Directories and their files; no link to a directory is followed, and the store itself is left out."""
        for here, folders, names in os.walk(top, onerror=lambda error: self.unread.append(str(error.filename))):
            directory = Path(here)
            if directory.resolve() == self.store_directory:
                folders.clear()
                continue
            folders.sort()
            yield directory, names


def check_given(paths: Sequence[Path], store_directory: Path) -> None:
    """Raise NotFoundError or InvalidInputError for what nothing can be taken from, before anything is done."""
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                raise NotFoundError(f"{path} does not exist", remedy="check the path") from error
            raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise InvalidInputError(f"{path} is neither a directory nor a file")
        if not os.access(path, os.R_OK):
            raise InvalidInputError(f"{path} may not be read", remedy="make it readable, or leave it out")
        if path.resolve().is_relative_to(store_directory):
            raise InvalidInputError(
                f"{path} lies in the store, which cannot heal itself", remedy="name a directory that has the files"
            )


def known_paths(reader: Reader, places: Iterable[Place], view: Path) -> list[Path]:
    """Where versions came from and went to: places, the directories that they were saved from, the store's own view."""
    found = [Path(place.path) for place in places]
    for ref in reader.refs(RefKind.VERSION):
        try:
            source = urlsplit(reader.version(ref.target).source)
        except (DamagedError, NotFoundError):
            continue
        if source.scheme == "file":
            found.append(Path(unquote(source.path, errors="surrogateescape")))
    return [path for path in dict.fromkeys([*found, view]) if _is_there(path)]


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
