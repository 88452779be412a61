"""Power cuts: what a disk may hold when the power fails, from the calls that the seam sees.

A file's content is sure only as of its last fsync, and a directory's entries only as of the directory's. Everything
since may be there, in part, or not at all, each change by itself. SQLite sees to its own files: they are taken as they
were when it last committed, or as they are now, all of them together.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

_Names: TypeAlias = dict[str, int]
"""Paths relative to the root, and the inode number that each names."""
_Contents: TypeAlias = dict[int, bytes]

_NOT_ON_DISK = ("-shm",)
_LOG = "-wal"
_DATABASE = re.compile(r"index\.sqlite3(\.[0-9a-f]{8})?(-wal)?")


@dataclass(frozen=True, slots=True)
class Moment:
    """The moment before a call: what is in the caches, what is sure, and what was acknowledged until then."""

    operation: str
    path: str
    directories: frozenset[str]
    cached_names: _Names
    cached: _Contents
    sure_names: _Names
    sure: _Contents
    acknowledged: frozenset[str]

    def outcomes(self, seed: int, count: int) -> Iterator[tuple[_Names, _Contents]]:
        """What may lie on the disk after the cut: only what is sure; all names but no more content than is sure; and
        ``count`` more at random."""
        yield self.sure_names, self.sure
        database = {inode: self.cached[inode] for inode in _database_files(self.cached_names, self.cached).values()}
        yield self.cached_names, {**self.sure, **database}
        for number in range(count):
            yield self._at_random(random.Random(1000 * seed + number))

    def _at_random(self, chance: random.Random) -> tuple[_Names, _Contents]:
        names = dict(self.sure_names)
        contents = {inode: self._torn(inode, chance) for inode in self.cached.keys() | self.sure.keys()}
        known, them = (self.cached_names, self.cached) if chance.random() < 0.5 else (self.sure_names, self.sure)
        for path in sorted(self.sure_names.keys() | self.cached_names.keys()):
            if path.endswith(_LOG):
                _take_over(path, names, known)
            elif chance.random() < 0.5:
                _take_over(path, names, self.cached_names)
        for inode in _database_files(names, {**self.cached, **self.sure}).values():
            contents[inode] = them.get(inode, self.sure.get(inode, b""))
        return names, contents

    def _torn(self, inode: int, chance: random.Random) -> bytes:
        sure = self.sure.get(inode, b"")
        cached = self.cached.get(inode, sure)
        if cached == sure or chance.random() < 0.25:
            return sure
        if not cached.startswith(sure):
            return cached
        more = cached[len(sure) :]
        kept = more[: chance.randrange(len(more) + 1)]
        return sure + kept + chance.choice((b"", bytes(len(more) - len(kept))))


@dataclass
class PowerCuts:
    """A hook that remembers the moment before each call below ``root``.

    ``shelf`` is a directory on the same file system: files are linked into it, so that no inode number comes again.
    """

    root: Path
    shelf: Path
    moments: list[Moment] = field(default_factory=list)
    _acknowledged: set[str] = field(default_factory=set)
    _sure_names: _Names = field(default_factory=dict)
    _sure: _Contents = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sure_names, self._sure = self._look()
        self._syncing: tuple[str, _Names, _Contents] | None = None

    def acknowledge(self, what: str) -> None:
        """This is promised from now on."""
        self._acknowledged.add(what)

    def __call__(self, operation: str, path: str) -> None:
        names, contents = self._look()
        self._finish_sync()
        # Where a link leads comes with its name.
        self._sure.update((inode, content) for inode, content in contents.items() if content.startswith(_LINK))
        directories = frozenset(str(found.relative_to(self.root)) for found in self.root.rglob("*") if found.is_dir())
        self.moments.append(
            Moment(
                operation,
                path,
                directories,
                names,
                contents,
                dict(self._sure_names),
                dict(self._sure),
                frozenset(self._acknowledged),
            )
        )
        if operation == "committed":
            self._database_is_sure(names, contents)
        elif operation == "fsync" and Path(path).is_relative_to(self.root):
            self._syncing = (str(Path(path).relative_to(self.root)), names, contents)

    def _finish_sync(self) -> None:
        """The fsync that was begun at the last call has ended."""
        if self._syncing is None:
            return
        path, names, contents = self._syncing
        self._syncing = None
        if path in names and not (self.root / path).is_dir():
            self._sure[names[path]] = contents[names[path]]
            return
        self._sure_names = {name: inode for name, inode in self._sure_names.items() if self._is_apart(name, path)}
        self._sure_names.update((name, inode) for name, inode in names.items() if _parent(name) == path)

    def _is_apart(self, name: str, directory: str) -> bool:
        """Whether a sync of that directory says nothing about a name: it is not in it, nor below one that it lost."""
        if _parent(name) == directory:
            return False
        parts = Path(name).relative_to(directory).parts if Path(name).is_relative_to(directory) else ()
        return not parts or (self.root / directory / parts[0]).is_dir()

    def _database_is_sure(self, names: _Names, contents: _Contents) -> None:
        for name, inode in _database_files(names, contents).items():
            self._sure_names[name] = inode
            self._sure[inode] = contents[inode]

    def _look(self) -> tuple[_Names, _Contents]:
        names: _Names = {}
        contents: _Contents = {}
        for path in sorted(self.root.rglob("*")):
            if path.name.endswith(_NOT_ON_DISK) or (path.is_dir() and not path.is_symlink()):
                continue
            inode = path.lstat().st_ino
            names[str(path.relative_to(self.root))] = inode
            if path.is_symlink():
                contents[inode] = _LINK + os.readlink(path).encode()  # noqa: PTH115
            else:
                contents[inode] = path.read_bytes()
            kept = self.shelf / str(inode)
            if not kept.exists() and not kept.is_symlink():
                os.link(path, kept, follow_symlinks=False)
        return names, contents


_LINK = b"\0link to "


def lay_out(directory: Path, moment: Moment, names: _Names, contents: _Contents) -> None:
    """Make a directory as the disk would show it after the cut."""
    for name in sorted(moment.directories):
        (directory / name).mkdir(parents=True)
    for name, inode in names.items():
        content = contents.get(inode, b"")
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith(_LINK):
            path.symlink_to(content.removeprefix(_LINK).decode())
        else:
            path.write_bytes(content)


def _database_files(names: _Names, contents: _Contents) -> _Names:
    return {
        name: inode
        for name, inode in names.items()
        if _DATABASE.fullmatch(name) and not contents.get(inode, b"").startswith(_LINK)
    }


def _take_over(path: str, names: _Names, others: _Names) -> None:
    """Let a path name what it names among the others, or nothing."""
    names.pop(path, None)
    if path in others:
        names[path] = others[path]


def _parent(name: str) -> str:
    return os.path.dirname(name) or "."  # noqa: PTH120
