"""A version's tree in the Hub's terms: files, and the folders that they make."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from casmodels.etags import HubFile, hub_file
from casmodels.specs import commit_of
from casstore.catalog import Reader
from casstore.trees import Entry, EntryKind, Tree, path_bytes
from casstore.versions import Version

_MAX_HOPS: Final = 40
"""Links that may be followed for one path, as in Linux."""
_MAX_LINKED: Final = 20_000
"""Files that may be listed because a link leads to their folder: links to folders multiply."""


@dataclass(frozen=True)
class Listing:
    """What the Hub shows of a version. Both maps are sorted by the paths' bytes.

    ``folders`` gives each folder's git tree id. A link to a file is that file; a link to a folder lists what
    is in it, once: links to folders inside it are left out, as are links that lead nowhere.
    """

    version: Version
    files: Mapping[str, HubFile]
    folders: Mapping[str, str]
    commit: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "commit", commit_of(self.version))

    @property
    def size_bytes(self) -> int:
        """The sum of the files' sizes."""
        return sum(file.size_bytes for file in self.files.values())


def read_listing(reader: Reader, version: Version) -> Listing:
    """Read a version's tree. Raises DamagedError or NotFoundError."""
    tree = reader.tree(version.tree)
    upstream = version.metadata.get("upstream_files")
    told = upstream if isinstance(upstream, Mapping) else None
    entries = _Expansion(tree).files()
    files = {path: _hub_file(reader, entries[path], told) for path in sorted(entries, key=path_bytes)}
    empty = [entry.path for entry in tree.entries if entry.kind is EntryKind.DIRECTORY]
    folders = _tree_ids(files, {path for path in entries if entries[path].mode & 0o111}, empty)
    return Listing(version, files, {path: folders[path] for path in sorted(folders, key=path_bytes)})


def _hub_file(reader: Reader, entry: Entry, told: Mapping[str, Any] | None) -> HubFile:
    assert entry.blob is not None
    info = reader.find_blob(entry.blob)
    return hub_file(entry, info.git if info is not None else None, told)


class _Expansion:
    """The files of a tree with its links resolved inside it, never outside."""

    def __init__(self, tree: Tree) -> None:
        self._by_path = tree.by_path
        self._paths = [entry.path for entry in tree.entries]
        self._keys = [path_bytes(path) for path in self._paths]
        self._folders = {""}
        for entry in tree.entries:
            self._folders.update(_parents(entry.path))
            if entry.kind is EntryKind.DIRECTORY:
                self._folders.add(entry.path)

    def files(self) -> dict[str, Entry]:
        """Path to entry; an entry found through a link has the path that leads there."""
        found: dict[str, Entry] = {}
        links = []
        for path in self._paths:
            file = self._file_at(path)
            if file is not None:
                found[path] = file
            elif self._by_path[path].kind is EntryKind.LINK:
                links.append(path)
        room = _MAX_LINKED
        for path in links:
            folder = self._follow(path)
            if folder is None or folder not in self._folders:
                continue
            inside = {path + below: file for below, file in self._below(folder) if path + below not in found}
            room -= len(inside)
            if room < 0:
                break
            found.update(inside)
        return found

    def _file_at(self, path: str) -> Entry | None:
        entry = self._by_path[path]
        if entry.kind is EntryKind.LINK:
            end = self._follow(path)
            entry = self._by_path.get(end, entry) if end is not None else entry
        return replace(entry, path=path) if entry.kind is EntryKind.FILE else None

    def _below(self, folder: str) -> Iterator[tuple[str, Entry]]:
        """The files under a folder, with ``/`` and their path within it."""
        prefix = f"{folder}/" if folder else ""
        start = bisect_left(self._keys, path_bytes(prefix))
        for path in self._paths[start:]:
            if not path.startswith(prefix):
                return
            file = self._file_at(path)
            if file is not None:
                yield f"/{path.removeprefix(prefix)}", file

    def _follow(self, path: str) -> str | None:
        """Where a link ends, part by part as a kernel would; None when it leaves the tree or goes round."""
        here: list[str] = []
        ahead = path.split("/")[::-1]
        hops = 0
        while ahead:
            part = ahead.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if not here:
                    return None
                here.pop()
                continue
            here.append(part)
            entry = self._by_path.get("/".join(here))
            if entry is not None and entry.kind is EntryKind.LINK:
                hops += 1
                if hops > _MAX_HOPS or entry.target.startswith("/"):
                    return None
                here.pop()
                ahead.extend(entry.target.split("/")[::-1])
        return "/".join(here)


def _parents(path: str) -> list[str]:
    parents = []
    while "/" in path:
        path = path.rpartition("/")[0]
        parents.append(path)
    return parents


def _tree_ids(files: Mapping[str, HubFile], executable: set[str], empty: list[str]) -> dict[str, str]:
    """Every folder's git tree id (the SHA-1 of git's own encoding), deepest folders first."""
    members: dict[str, list[tuple[bytes, bytes, str]]] = {"": []}
    for folder in [parent for path in (*files, *empty) for parent in _parents(path)] + empty:
        members.setdefault(folder, [])
    for path, file in files.items():
        folder, _, name = path.rpartition("/")
        mode = b"100755" if path in executable else b"100644"
        members[folder].append((path_bytes(name), mode, file.blob_id))
    ids = {}
    for folder in sorted(members, key=lambda path: path.count("/"), reverse=True):
        if folder:
            ids[folder] = _tree_id(members[folder])
            parent, _, name = folder.rpartition("/")
            members[parent].append((path_bytes(name), b"40000", ids[folder]))
    return ids


def _tree_id(members: list[tuple[bytes, bytes, str]]) -> str:
    # Git sorts folders as if their names ended in a slash.
    ordered = sorted(members, key=lambda member: member[0] + (b"/" if member[1] == b"40000" else b""))
    content = b"".join(b"%s %s\0%s" % (mode, name, bytes.fromhex(oid)) for name, mode, oid in ordered)
    return hashlib.sha1(b"tree %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()
