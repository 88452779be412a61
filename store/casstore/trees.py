"""Trees: immutable listings of paths. FORMAT.md, "Trees", gives the bytes.

A path is text with ``/`` between its parts; bytes that are no UTF-8 are carried as lone surrogates
(``surrogateescape``, PEP 383), so that every name a POSIX system can hold comes back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from casstore.digests import SHA256, Digest, blake3_digest
from casstore.errors import DamagedError, InvalidInputError

_HEADER = struct.Struct("<4sBBHI")
_ENTRY = struct.Struct("<BBHQ32sII")
_MAGIC = b"CTRE"
_VERSION = 1
_NO_DIGEST = bytes(32)
_MODE_MASK = 0o777
_MAX_LINKS = 64
"""Links after which a path is taken to go round in a loop; every kernel gives up before (Linux after 40)."""
_MAX_STEPS = 4096
"""Steps after which a path is refused: honest ones take a few."""
_MAX_TARGET_BYTES = 4095
"""No system holds a longer link."""
_MAX_PATH_BYTES = 1 << 15
"""No system opens a longer path; one of a hostile listing would take the square of its length in time."""


class EntryKind(IntEnum):
    """What a path is."""

    FILE = 1
    LINK = 2
    DIRECTORY = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One path: a file (its blob's SHA-256 digest, size in bytes, permission bits), a symbolic link (its target), or an
    empty directory. Directories that hold something are not listed."""

    path: str
    kind: EntryKind
    blob: Digest | None = None
    size_bytes: int = 0
    mode: int = 0o644
    target: str = ""

    @classmethod
    def file(cls, path: str, blob: Digest, size_bytes: int, mode: int = 0o644) -> Entry:
        """A file's entry."""
        return cls(path, EntryKind.FILE, blob, size_bytes, mode & _MODE_MASK)

    @classmethod
    def link(cls, path: str, target: str) -> Entry:
        """A symbolic link's entry."""
        return cls(path, EntryKind.LINK, mode=0o777, target=target)

    @classmethod
    def directory(cls, path: str, mode: int = 0o755) -> Entry:
        """An empty directory's entry."""
        return cls(path, EntryKind.DIRECTORY, mode=mode & _MODE_MASK)


@dataclass(frozen=True)
class Tree:
    """The entries, sorted by their path's bytes; made with `Tree.of`, which checks them."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Tree:
        """Sort and check.

        Raises InvalidInputError for a path that is absolute, empty, has a ``.`` or ``..`` part, is there twice, or lies
        under another entry; for a link that leaves the tree; and for an entry that no kind of path can have.
        """
        entries = tuple(entries)
        for entry in entries:
            _check_entry(entry)
        ordered = tuple(sorted(entries, key=lambda entry: path_bytes(entry.path)))
        seen: set[str] = set()
        for entry in ordered:
            if entry.path in seen:
                raise InvalidInputError(f"the path {entry.path!r} is there twice")
            seen.add(entry.path)
        for entry in ordered:
            parent, slash, _ = entry.path.rpartition("/")
            while slash:
                if parent in seen:
                    raise InvalidInputError(f"the path {entry.path!r} lies under {parent!r}, which is an entry itself")
                parent, slash, _ = parent.rpartition("/")
        check_links({entry.path: entry.target for entry in ordered if entry.kind is EntryKind.LINK})
        return cls(ordered)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def files(self) -> list[Entry]:
        """The entries that are files."""
        return [entry for entry in self.entries if entry.kind is EntryKind.FILE]

    @property
    def size_bytes(self) -> int:
        """The sum of the files' sizes."""
        return sum(entry.size_bytes for entry in self.files)

    @cached_property
    def by_path(self) -> dict[str, Entry]:
        """The entries by their path."""
        return {entry.path: entry for entry in self.entries}

    def follow(self, path: str) -> Entry | None:
        """The entry that a path leads to, through links in any of its parts; None when it leads nowhere."""
        try:
            end = _follow(path, self._links)
        except _LeavesError:
            return None
        return self.by_path.get(end) if end is not None else None

    def is_directory(self, path: str) -> bool:
        """Whether a path leads to a directory, through links in any of its parts."""
        try:
            end = _follow(path, self._links)
        except _LeavesError:
            return False
        if end is None or end in self.by_path:
            return end is not None and self.by_path[end].kind is EntryKind.DIRECTORY
        return not end or any(entry.path.startswith(f"{end}/") for entry in self.entries)

    @cached_property
    def _links(self) -> dict[str, str]:
        return {entry.path: entry.target for entry in self.entries if entry.kind is EntryKind.LINK}

    @cached_property
    def encoded(self) -> bytes:
        """The canonical bytes."""
        parts = [_HEADER.pack(_MAGIC, _VERSION, 0, 0, len(self.entries))]
        for entry in self.entries:
            path, target = path_bytes(entry.path), path_bytes(entry.target)
            blob = entry.blob.value if entry.blob is not None else _NO_DIGEST
            parts.append(_ENTRY.pack(entry.kind, 0, entry.mode, entry.size_bytes, blob, len(path), len(target)))
            parts += (path, target)
        return b"".join(parts)

    @cached_property
    def digest(self) -> Digest:
        """The BLAKE3 of the canonical bytes: the tree's name."""
        return blake3_digest(self.encoded)

    @classmethod
    def decode(cls, data: bytes, digest: Digest) -> Tree:
        """Read the canonical bytes of the tree of that name; raises DamagedError for anything else."""
        what = f"tree {digest.hex}"
        if blake3_digest(data) != digest:
            raise DamagedError(what, "its bytes do not match its digest")
        try:
            magic, version, _, _, count = _HEADER.unpack_from(data)
            if magic != _MAGIC or version != _VERSION:
                raise DamagedError(what, "it is not a tree of a known format")
            entries, position = [], _HEADER.size
            for _ in range(count):
                kind, _, mode, size_bytes, blob, path_length, target_length = _ENTRY.unpack_from(data, position)
                position += _ENTRY.size
                path = path_text(data[position : position + path_length])
                position += path_length
                target = path_text(data[position : position + target_length])
                position += target_length
                digest_of_blob = Digest(SHA256, blob) if kind == EntryKind.FILE else None
                entries.append(Entry(path, EntryKind(kind), digest_of_blob, size_bytes, mode, target))
            tree = cls.of(entries)
            if tree.encoded != data:
                raise DamagedError(what, "it is not encoded as it should be")
            return tree
        except (struct.error, ValueError, InvalidInputError) as error:
            raise DamagedError(what, "it is not a tree") from error


def path_bytes(path: str) -> bytes:
    """A path as the bytes that a POSIX system keeps. Raises InvalidInputError for text that stands for no bytes."""
    try:
        return path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"{path!r} cannot be a path: it has half of a surrogate pair") from error


def path_text(raw: bytes) -> str:
    """The inverse of `path_bytes`."""
    return raw.decode("utf-8", "surrogateescape")


def check_path(path: str) -> None:
    """Raise InvalidInputError unless the path is relative and stays inside its directory."""
    if len(path_bytes(path)) > _MAX_PATH_BYTES:
        raise InvalidInputError(f"the path {path[:40]!r}… is longer than any system's")
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise InvalidInputError(f"the path {path!r} is not a plain relative path")


def check_links(links: Mapping[str, str]) -> None:
    """Raise InvalidInputError when a link (path to target), followed through the others, leaves the tree."""
    for path, target in links.items():
        if not target or "\0" in target or len(path_bytes(target)) > _MAX_TARGET_BYTES:
            raise InvalidInputError(f"the link {path!r} has a target that no link can have")
        try:
            _follow(path, links)
        except _LeavesError as error:
            raise InvalidInputError(f"the link {path!r} to {target!r} leaves the directory") from error


def _check_entry(entry: Entry) -> None:
    check_path(entry.path)
    is_file, is_link = entry.kind is EntryKind.FILE, entry.kind is EntryKind.LINK
    fits = (entry.blob is not None) == is_file and bool(entry.target) == is_link and (is_file or not entry.size_bytes)
    if not fits or entry.mode & ~_MODE_MASK or entry.size_bytes < 0:
        raise InvalidInputError(f"{entry.path!r} is an entry that no {entry.kind.name.lower()} can have")


class _LeavesError(Exception):
    """A path leaves the tree, or winds so long that nobody can tell."""


def _follow(path: str, links: Mapping[str, str]) -> str | None:
    """Where a path ends, resolved part by part as a kernel would; None when it goes round in a loop, which leads
    nowhere. Raises _LeavesError."""
    here: list[str] = []
    ahead = path.split("/")[::-1]
    followed = 0
    for _ in range(_MAX_STEPS):
        if not ahead:
            return "/".join(here)
        part = ahead.pop()
        if part == "..":
            if not here:
                raise _LeavesError
            here.pop()
        elif part not in ("", "."):
            here.append(part)
            target = links.get("/".join(here))
            if target is not None:
                followed += 1
                if followed > _MAX_LINKS:
                    return None
                if target.startswith("/"):
                    raise _LeavesError
                here.pop()
                ahead.extend(target.split("/")[::-1])
    raise _LeavesError
