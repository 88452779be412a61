"""The Hub view: a directory that the Hugging Face libraries take for their own cache."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from casmodels.listings import Listing, read_listing
from casmodels.progress import Progress, SilentProgress
from casmodels.views.clones import can_clone, can_link
from casmodels.views.copies import Copies
from casmodels.views.layout import (
    BLOBS,
    CACHE_TAG,
    SNAPSHOTS,
    cache_tag,
    folder_name,
    is_our_cache_tag,
    is_repo_folder,
    snapshot_path,
)
from casmodels.views.materialise import LinkMode
from casmodels.views.repo_folder import RepoFolder
from casmodels.views.targets import alone, check_space, nameable, nearest_existing, real_target
from casstore import files
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.errors import InvalidInputError
from casstore.index.places import Place, PlaceKind, Places


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A version as it lies in a view; ``path`` is its ``snapshots/<commit>`` directory."""

    name: str
    version: Digest
    commit: str
    path: Path
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Added:
    """What adding to a view did.

    ``link`` is how the files came about that were written: HARDLINK if any did so, else REFLINK if any, else COPY.
    ``kept`` are paths where others' files lie instead of the version's.
    """

    snapshots: tuple[Snapshot, ...]
    written_bytes: int
    link: LinkMode
    kept: tuple[str, ...]


class HubView:
    """One view. ``home`` is what HF_HOME is set to; the cache itself is its folder ``hub``."""

    def __init__(self, home: Path, store_directory: Path, places: Places) -> None:
        self.home = home.absolute()
        self.hub = self.home.resolve() / "hub"
        self._store_directory = store_directory
        self._places = places

    def exports(self, token_path: Path | None = None, *, over_hub_cache: bool = False) -> dict[str, str]:
        """The variables that point the Hugging Face libraries here, in order.

        ``token_path`` is where the user's Hub token lies, if there is one: HF_HOME would hide it. With
        ``over_hub_cache`` the cache is named too, for an environment where HF_HUB_CACHE is set: it beats HF_HOME.
        """
        exports = {"HF_HOME": str(self.home), "HF_HUB_OFFLINE": "1"}
        if over_hub_cache:
            exports["HF_HUB_CACHE"] = str(self.home / "hub")
        if token_path is not None:
            exports["HF_TOKEN_PATH"] = str(token_path)
        return exports

    def check(self) -> None:
        """Raise InvalidInputError when the directory cannot be a view: somebody else's Hub cache, a file, the store."""
        real_target(self.hub, self._store_directory)
        if _repo_folders(self.home):
            raise InvalidInputError(
                f"{self.home} is a Hub cache itself", remedy="choose a directory of its own for the view"
            )
        if _repo_folders(self.hub) and not self._is_ours():
            raise InvalidInputError(
                f"{self.hub} is a Hub cache that casmodels did not make",
                remedy="choose a directory of its own for the view",
            )

    def add(
        self,
        reader: Reader,
        wanted: Sequence[tuple[str, Digest]],
        *,
        link: LinkMode = LinkMode.AUTO,
        progress: Progress | None = None,
    ) -> Added:
        """See to it that versions (of a name each) lie in the view, whole.

        What lies there is known by what was noted of it, else by reading it; a blob that is not what its name says is
        replaced. Raises as `check`, and FullError before anything is written; NotFoundError, DamagedError.
        """
        self.check()
        listings = [(name, read_listing(reader, reader.version(version))) for name, version in wanted]
        copies = Copies(self._places)
        self._check_space(listings, copies, link)
        snapshots, kept, ways, written_bytes = [], [], set(), 0
        for name, listing in listings:
            directory = self._folder(name)
            self._tag()
            files.make_directory(directory / BLOBS)
            with nameable(), alone(directory):
                folder = RepoFolder(reader, self._places, directory, name)
                symlinks = can_link(directory / BLOBS)
                written = folder.add(
                    listing, copies, link=link, symlinks=symlinks, progress=progress or SilentProgress()
                )
            kept += [f"{directory.name}/{path}" for path in folder.foreign]
            ways |= {one.how for one in written}
            written_bytes += sum(one.wanted.size_bytes for one in written)
            path = self.home / "hub" / directory.name / SNAPSHOTS / listing.commit
            snapshots.append(
                Snapshot(name, listing.version.id, listing.commit, path, len(listing.files), listing.size_bytes)
            )
        how = next((way for way in (LinkMode.HARDLINK, LinkMode.REFLINK) if way in ways), LinkMode.COPY)
        return Added(tuple(snapshots), written_bytes, how, tuple(kept))

    def places(self) -> list[Place]:
        """What is noted of the view: one place per model."""
        return [place for place in self._places.all(PlaceKind.VIEW) if Path(place.path).parent == self.hub]

    def models(self) -> tuple[str, ...]:
        """The names of the models that lie here."""
        return tuple(sorted(place.name for place in self.places() if Path(place.path).is_dir()))

    @property
    def size_bytes(self) -> int:
        """What the files here take that the store made, those with several names counted once."""
        return occupied_bytes(self.places())

    def vanish_if_empty(self) -> None:
        """Remove the view's own directories when no model is left and nobody put anything else there."""
        if _repo_folders(self.hub):
            return
        if self._has_our_tag():
            files.unlink(self.hub / CACHE_TAG)
        with contextlib.suppress(OSError):
            self.hub.rmdir()
            self.home.rmdir()

    def _folder(self, name: str) -> Path:
        """A model's folder. Raises InvalidInputError when another's would be taken for it."""
        directory = self.hub / folder_name(name)
        for place in self.places():
            if place.name != name and directory.exists() and directory.samefile(place.path):
                raise InvalidInputError(
                    f"the file system of {self.hub} takes {name!r} and {place.name!r} for one",
                    remedy="choose a directory on a file system that tells upper from lower case",
                )
        return directory

    def _is_ours(self) -> bool:
        return self._has_our_tag() or bool(self.places())

    def _has_our_tag(self) -> bool:
        try:
            return is_our_cache_tag((self.hub / CACHE_TAG).read_bytes())
        except OSError:
            return False

    def _tag(self) -> None:
        """Say whose the cache is, before there is a model in it that another run would take for somebody else's."""
        files.make_directory(self.hub)
        if not (self.hub / CACHE_TAG).exists():
            with alone(self.hub):
                if not (self.hub / CACHE_TAG).exists():
                    files.write_atomically(self.hub / CACHE_TAG, cache_tag())

    def _check_space(self, listings: Sequence[tuple[str, Listing]], copies: Copies, link: LinkMode) -> None:
        """Before the first byte: what all of them need, not counting what surely lies there."""
        needed: dict[Path, tuple[Digest, int]] = {}
        for name, listing in listings:
            directory = self._folder(name)
            # Where nothing lies yet, the paths matter only as far as a version has equal files.
            links = not (directory / BLOBS).is_dir() or can_link(directory / BLOBS)
            for path, file in listing.files.items():
                target = directory / (f"{BLOBS}/{file.etag}" if links else snapshot_path(listing.commit, path))
                if not _has_size(target, file.size_bytes):
                    needed[target] = (file.sha256, file.size_bytes)
        shares = link is not LinkMode.COPY and any(copies.are_noted(blob) for blob, _ in needed.values())
        shares = shares and can_clone(nearest_existing(self.hub))
        needed_bytes = sum(size for blob, size in needed.values() if not (shares and copies.are_noted(blob)))
        check_space(self.hub, needed_bytes)


def occupied_bytes(places: Iterable[Place]) -> int:
    """What the files that the store made at some places take now, those with several names counted once."""
    sizes: dict[tuple[int, int], int] = {}
    for place in places:
        for path in place.files:
            with contextlib.suppress(OSError):
                status = (Path(place.path) / path).lstat()
                sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


def _has_size(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except OSError:
        return False


def _repo_folders(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if is_repo_folder(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
