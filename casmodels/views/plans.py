"""What has to happen to a directory so that it holds a version: found out before anything is touched."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from casmodels.views.contents import Observer, link_blob, link_target
from casmodels.views.history import History, parents
from casmodels.views.targets import is_temporary
from casstore.digests import Digest
from casstore.index.places import FileState
from casstore.trees import Entry, EntryKind, path_bytes


@dataclass
class Plan:
    """The steps, in the order in which they are taken.

    ``removals`` are files and links that go, ``emptied`` the directories that go too if nothing is left in them
    (deepest first), ``files``, ``links`` and (empty) ``directories`` what is to be made, ``modes`` files that only lack
    their permissions.
    ``right`` are the files that are as they should be, ``edited`` the user's own in the way (to be overwritten only
    when forced), ``blocked`` what is in the way and never removed, ``kept`` the user's own that are in nobody's way.
    ``freed_bytes`` tells for replaced and removed files what they occupy.
    """

    removals: list[str] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)
    files: list[Entry] = field(default_factory=list)
    links: list[Entry] = field(default_factory=list)
    directories: list[Entry] = field(default_factory=list)
    modes: list[Entry] = field(default_factory=list)
    right: dict[str, FileState] = field(default_factory=dict)
    edited: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    freed_bytes: dict[str, int] = field(default_factory=dict)


class Planner:
    """Compares a directory with the entries that it should have.

    ``before`` are the paths that a store is known to have written there: those that are not wanted any more go.
    ``history`` tells what is no user's work: bytes that some version had at that very path, and that can be had again.
    """

    def __init__(self, directory: Path, observer: Observer, history: History, before: Iterable[str]) -> None:
        self._directory = directory
        self._observer = observer
        self._history = history
        self._before = frozenset(before)
        self._statuses: dict[str, os.stat_result | None] = {}
        self._going: set[str] = set()
        self._going_inodes: set[tuple[int, int]] = set()
        self._plan = Plan()

    def plan(self, wanted: Iterable[Entry], left_alone: Container[str] = ()) -> Plan:
        """What to do so that all of ``wanted`` is there. Known paths that are ``left_alone`` are not looked at."""
        entries = {entry.path: entry for entry in wanted}
        for path in sorted(self._before - entries.keys(), key=path_bytes):
            if path not in left_alone:
                self._plan_removal(path)
        for entry in entries.values():
            blocker = self._blocker(entry.path)
            if blocker is not None:
                self._displace(blocker)
                self._make(entry)
            elif (status := self._status(entry.path)) is None:
                self._make(entry)
            elif stat.S_ISDIR(status.st_mode):
                self._plan_over_directory(entry)
            else:
                self._plan_over_file(entry, status)
        self._rewrite_renamed(entries)
        self._plan.emptied = self._emptied(entries, left_alone)
        self._plan.kept += self._untracked(entries, left_alone)
        return self._plan

    def _status(self, path: str) -> os.stat_result | None:
        """What lies at a path, links not followed; None for nothing. Ask for its `_blocker` first."""
        if path not in self._statuses:
            try:
                self._statuses[path] = (self._directory / path).lstat()
            except (FileNotFoundError, NotADirectoryError):
                self._statuses[path] = None
        return self._statuses[path]

    def _blocker(self, path: str) -> str | None:
        """The first of the directories above a path that is there and is no directory."""
        for parent in reversed(list(parents(path))):
            status = self._status(parent)
            if status is None:
                return None
            if not stat.S_ISDIR(status.st_mode):
                return parent
        return None

    def _is_ours(self, path: str, status: os.stat_result) -> bool:
        """Whether what lies there was written by a store, and can be had from it again."""
        if stat.S_ISLNK(status.st_mode):
            target = link_target(self._directory / path)
            return self._history.has_link(path, target) or link_blob(target) in self._noted_blobs(path)
        if not stat.S_ISREG(status.st_mode):
            return False
        is_noted_size = any(noted.size_bytes == status.st_size for noted in self._observer.noted(path))
        if not is_noted_size and not self._history.has_size(path, status.st_size):
            return False
        blob = self._observer.digest(path, status)
        if blob is None:
            return False
        is_known = blob in self._noted_blobs(path) or self._history.has_blob(path, blob)
        return is_known and self._history.can_give(blob)

    def _noted_blobs(self, path: str) -> set[Digest]:
        return {noted.blob for noted in self._observer.noted(path)}

    def _plan_removal(self, path: str) -> None:
        status = self._status(path) if self._blocker(path) is None else None
        if status is None or stat.S_ISDIR(status.st_mode):
            return
        if self._is_ours(path, status):
            self._remove(path, status)
        else:
            self._plan.kept.append(path)

    def _plan_over_directory(self, entry: Entry) -> None:
        if entry.kind is EntryKind.DIRECTORY:
            return
        inside = list(self._inside(entry.path))
        if all(is_directory or path in self._going for path, is_directory in inside):
            self._plan.emptied += [entry.path, *(path for path, is_directory in inside if is_directory)]
            self._make(entry)
        else:
            self._plan.blocked.append(entry.path)

    def _plan_over_file(self, entry: Entry, status: os.stat_result) -> None:
        if entry.kind is EntryKind.LINK and stat.S_ISLNK(status.st_mode):
            if link_target(self._directory / entry.path) == entry.target:
                return
        elif entry.kind is EntryKind.FILE and stat.S_ISREG(status.st_mode) and self._is_right(entry, status):
            return
        if entry.kind is EntryKind.DIRECTORY:
            self._displace(entry.path)
        else:
            # The rename puts the new over the old in one step, so nothing has to be removed first.
            self._claim(entry.path, status)
        self._make(entry)

    def _is_right(self, entry: Entry, status: os.stat_result) -> bool:
        assert entry.blob is not None
        if not self._observer.holds(entry.path, status, entry.blob, entry.size_bytes):
            return False
        if os.name == "posix" and stat.S_IMODE(status.st_mode) != entry.mode:
            if status.st_nlink > 1:
                return False  # its other names are not ours to change
            self._plan.modes.append(entry)
        self._plan.right[entry.path] = FileState.of(status, entry.blob)
        return True

    def _displace(self, path: str) -> None:
        """Have a file or link go that lies where a directory has to be."""
        status = self._status(path)
        if status is not None and path not in self._going:
            self._claim(path, status)
            self._remove(path, status)

    def _claim(self, path: str, status: os.stat_result) -> None:
        """Note what is about to be overwritten if it is the user's."""
        # Where upper and lower case are one, it may be what is about to go under its old name.
        if (status.st_dev, status.st_ino) not in self._going_inodes and not self._is_ours(path, status):
            self._plan.edited.append(path)
        self._plan.freed_bytes[path] = status.st_size

    def _remove(self, path: str, status: os.stat_result) -> None:
        self._plan.removals.append(path)
        self._going.add(path)
        self._going_inodes.add((status.st_dev, status.st_ino))
        self._plan.freed_bytes[path] = status.st_size

    def _make(self, entry: Entry) -> None:
        match entry.kind:
            case EntryKind.FILE:
                self._plan.files.append(entry)
            case EntryKind.LINK:
                self._plan.links.append(entry)
            case EntryKind.DIRECTORY:
                self._plan.directories.append(entry)

    def _rewrite_renamed(self, entries: Mapping[str, Entry]) -> None:
        """Where upper and lower case are one, a file may be right under its new name and about to go under its old."""
        for path in [*self._plan.right]:
            status = self._status(path)
            if status is not None and (status.st_dev, status.st_ino) in self._going_inodes:
                del self._plan.right[path]
                self._plan.files.append(entries[path])
        self._plan.modes = [entry for entry in self._plan.modes if entry.path in self._plan.right]

    def _emptied(self, entries: Mapping[str, Entry], left_alone: Container[str]) -> list[str]:
        """The directories that hold nothing once the steps are done, if the user put nothing there; deepest first."""
        needed = {parent for path in entries for parent in parents(path)}
        needed |= {path for path, entry in entries.items() if entry.kind is EntryKind.DIRECTORY}
        candidates = {*self._plan.emptied, *(parent for path in self._going for parent in parents(path))}
        for path in self._before - entries.keys():
            if path not in left_alone:
                # Also where the file is gone already: a run that was killed may have left its directory.
                candidates.update((path, *parents(path)))
        there = [path for path in candidates - needed if self._is_directory(path)]
        return sorted(there, key=lambda path: path.count("/"), reverse=True)

    def _is_directory(self, path: str) -> bool:
        status = self._status(path) if self._blocker(path) is None else None
        return status is not None and stat.S_ISDIR(status.st_mode)

    def _inside(self, directory: str) -> Iterator[tuple[str, bool]]:
        """What lies under a directory, with whether it is a directory; parents before what is in them."""
        with os.scandir(self._directory / directory) as found:
            members = [(f"{directory}/{member.name}", member.is_dir(follow_symlinks=False)) for member in found]
        for path, is_directory in members:
            yield path, is_directory
            if is_directory:
                yield from self._inside(path)

    def _untracked(self, entries: Mapping[str, Entry], left_alone: Container[str]) -> Iterator[str]:
        """What the user put there: looked for only in directories that the version, or the one before, has."""
        tracked = {parent for path in (*entries, *self._before) for parent in parents(path)}
        for directory in sorted({"", *tracked}, key=path_bytes):
            if not self._is_directory(directory):
                continue
            prefix = f"{directory}/" if directory else ""
            with os.scandir(self._directory / directory) as found:
                members = sorted((member.name, member.is_dir(follow_symlinks=False)) for member in found)
            for name, is_directory in members:
                path = prefix + name
                if (
                    path in entries
                    or path in self._before
                    or path in tracked
                    or path in left_alone
                    or is_temporary(name)
                ):
                    continue
                yield f"{path}/" if is_directory else path
