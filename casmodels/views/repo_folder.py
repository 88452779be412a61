"""One model's folder in a Hub cache: ``models--org--name``."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from casmodels.etags import HubFile
from casmodels.listings import Listing
from casmodels.progress import Progress
from casmodels.revisions import branches_of
from casmodels.specs import commit_of
from casmodels.views.clones import put_link, temporary_in
from casmodels.views.contents import Observer, link_destination, link_target
from casmodels.views.copies import Copies
from casmodels.views.layout import (
    BLOBS,
    REFS,
    SNAPSHOTS,
    TREES,
    is_ref_name,
    link_text,
    snapshot_path,
    tree_listing,
)
from casmodels.views.materialise import LinkMode, Materialiser, Wanted, Written
from casmodels.views.targets import make_parents, remove_temporaries, sync_content, sync_names
from casstore import files
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.errors import FailedError
from casstore.index.places import FileState, Place, PlaceKind, Places
from casstore.refs import RefKind
from casstore.versions import Version

_MODE: Final = 0o644


class RepoFolder:
    """Brings one model's folder to hold versions; by the only one that is at it. ``blobs`` exists already.

    What is noted of the folder are its files of content: blobs, or without links the snapshots' files. If nothing at
    all is noted (the index was rebuilt), the listing tells whether the snapshot was made here.

    After `add`, ``foreign`` are the paths at which others' files lie instead of the version's.
    """

    def __init__(self, reader: Reader, places: Places, directory: Path, name: str) -> None:
        self._reader = reader
        self._places = places
        self._directory = directory
        self._staging = directory / BLOBS
        self._name = name
        # Notes made now are of this moment, whenever they are saved: what changes from here on is not trusted.
        self._started_ns = time.time_ns()
        self._place = places.load(directory)
        self._observer = Observer(directory, self._place)
        self._relied_on: set[str] = set()
        self.foreign: list[str] = []

    def add(
        self, listing: Listing, copies: Copies, *, link: LinkMode, symlinks: bool, progress: Progress
    ) -> list[Written]:
        """Make a version's snapshot: its blobs first, the refs last, so that nobody finds half of one by name,
        not after a power cut either."""
        remove_temporaries(self._staging)
        wanted, states = self._compare(listing, symlinks=symlinks)
        if wanted:
            coming = {one.path: FileState(one.size_bytes, 0, 0, one.blob) for one in wanted}
            self._save(listing.version.id, coming | states)
        materialiser = Materialiser(
            self._reader,
            self._directory,
            self._staging,
            copies,
            link=link,
            started_ns=self._started_ns,
            progress=progress,
        )
        progress.expect(len(wanted), sum(one.size_bytes for one in wanted))
        written: list[Written] = []
        try:
            materialiser.write_all(wanted, written)
            if not listing.files:  # otherwise the first of them makes the snapshot's directory
                make_parents(self._directory, snapshot_path(listing.commit, ""))
                self._relied_on.add(snapshot_path(listing.commit, ""))
            if symlinks:
                self._link(listing)
            self._write(_listing_path(listing), tree_listing(listing.version, listing.files))
            self._sync_names()
            self._point(listing.version)
            self._sync_names()
        finally:
            self._save(listing.version.id, states | {one.wanted.path: one.state for one in written})
        return written

    def _compare(self, listing: Listing, *, symlinks: bool) -> tuple[list[Wanted], dict[str, FileState]]:
        """What has to be written, and what is known of the files that the store made here."""
        states = self._carried()
        was_made_here = self._was_made_here(listing)
        wanted: dict[str, Wanted] = {}
        for path, file in listing.files.items():
            where = f"{BLOBS}/{file.etag}" if symlinks else snapshot_path(listing.commit, path)
            if where in wanted:
                continue
            self._relied_on.add(where)
            status = self._status(where)
            noted = was_made_here or bool(self._observer.noted(where))
            if status is not None and self._observer.holds(
                where, status, file.sha256, file.size_bytes, follow=symlinks
            ):
                if self._observer.known(where, status) is None:
                    with contextlib.suppress(OSError):
                        sync_content(self._directory / where)
                if noted and stat.S_ISREG(status.st_mode):
                    states[where] = FileState.of(status, file.sha256)
            elif status is not None and (stat.S_ISDIR(status.st_mode) or not (symlinks or noted)):
                # A blob is what its name says or has to go. A file in a snapshot may be somebody's work.
                self.foreign.append(where)
            else:
                label = f"{path} of {self._name}@{listing.version.id.hex[:12]}"
                wanted[where] = Wanted(where, file.sha256, file.size_bytes, _MODE, label)
        return list(wanted.values()), states

    def _was_made_here(self, listing: Listing) -> bool:
        """Whether a snapshot of which nothing is noted is the store's all the same."""
        if self._place is not None:
            return False
        try:
            there = (self._directory / _listing_path(listing)).read_bytes()
        except OSError:
            return False
        return there == tree_listing(listing.version, listing.files)

    def _carried(self) -> dict[str, FileState]:
        """What was noted before, of another moment: what is not sure now must not become sure by being saved again."""
        states = {}
        for path, state in (self._place.files if self._place is not None else {}).items():
            status = self._status(path)
            if status is not None:
                is_sure = state.matches(status, self._place.saved_ns if self._place is not None else 0)
                states[path] = state if is_sure else state.doubted()
        return states

    def _status(self, path: str) -> os.stat_result | None:
        try:
            return (self._directory / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _link(self, listing: Listing) -> None:
        for path, file in listing.files.items():
            where = snapshot_path(listing.commit, path)
            text = link_text(path, file.etag)
            try:
                make_parents(self._directory, where)
            except FailedError:
                self.foreign.append(where)
                continue
            self._relied_on.add(where)
            status = self._status(where)
            if status is None or self._is_link_to_blob(where, status):
                if status is None or link_target(self._directory / where) != text:
                    put_link(self._staging, self._directory / where, text)
            elif not self._is_right(where, status, file):
                self.foreign.append(where)

    def _is_link_to_blob(self, where: str, status: os.stat_result) -> bool:
        return stat.S_ISLNK(status.st_mode) and link_destination(self._directory / where).parent == self._staging

    def _is_right(self, where: str, status: os.stat_result, file: HubFile) -> bool:
        return self._observer.holds(where, status, file.sha256, file.size_bytes)

    def _sync_names(self) -> None:
        """Also those that were there already: a run that was killed may have made them a moment ago."""
        sync_names(self._directory, self._relied_on)
        self._relied_on.clear()

    def _point(self, version: Version) -> None:
        """Write the refs: branches and tags of the versions that lie here."""
        here = {path.name for path in (self._directory / SNAPSHOTS).iterdir()}
        refs = sorted(self._reader.refs(RefKind.VERSION, self._name), key=lambda ref: ref.order, reverse=True)
        ids = [ref.target for ref in refs]
        if version.id not in ids:
            ids.append(version.id)  # no ref names it any more, so it is older than all that one does
        versions = [
            one for one in map(self._reader.version_unless_lost, ids) if one is not None and commit_of(one) in here
        ]
        commits = {name: commit_of(one) for name, one in branches_of(versions).items()}
        by_id = {one.id: commit_of(one) for one in versions}
        for ref in self._reader.refs(RefKind.TAG, self._name):
            if ref.target in by_id:
                commits[ref.key.label] = by_id[ref.target]
        for name, commit in sorted(commits.items()):
            if is_ref_name(name):
                with self._unless_in_the_way(f"{REFS}/{name}"):
                    self._write(f"{REFS}/{name}", commit.encode("ascii"))

    @contextlib.contextmanager
    def _unless_in_the_way(self, where: str) -> Iterator[None]:
        """Refs ``a`` and ``a/b`` cannot both be files."""
        try:
            yield
        except (FailedError, IsADirectoryError, NotADirectoryError):
            self.foreign.append(where)

    def _write(self, where: str, content: bytes) -> None:
        """Give a small file that content, whole."""
        make_parents(self._directory, where)
        self._relied_on.add(where)
        target = self._directory / where
        with contextlib.suppress(OSError):
            if not target.is_symlink() and target.read_bytes() == content:
                return
        temporary = temporary_in(self._staging)
        try:
            with files.translated(temporary):
                files.announce("create", temporary)
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
            try:
                files.write_all(descriptor, content, temporary)
                files.sync_file(descriptor, temporary)
            finally:
                os.close(descriptor)
            temporary.chmod(_MODE)
            files.rename(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def _save(self, version: Digest, states: dict[str, FileState]) -> None:
        if self._place is not None and self._place.files == states and self._place.version == version:
            self._places.touch(self._directory)
            return
        now_ns = time.time_ns()
        self._places.save(
            Place(str(self._directory), PlaceKind.VIEW, self._name, version, states, self._started_ns, used_ns=now_ns)
        )


def _listing_path(listing: Listing) -> str:
    return f"{TREES}/{listing.commit}.json"
