"""What an upstream repo holds, before any byte of it is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from casmodels.errors import UpstreamError
from casstore.digests import GIT_BLOB, SHA256, Digest
from casstore.errors import InvalidInputError
from casstore.trees import check_path, path_bytes

_HEX: Final = re.compile(r"[0-9a-f]*\Z")


@dataclass(frozen=True, slots=True)
class UpstreamFile:
    """A file of a repo. ``blob_id`` is git's id of its bytes, or for a large file (LFS) of the pointer to
    them; those go by their SHA-256."""

    path: str
    size_bytes: int
    blob_id: str
    lfs_sha256: str | None = None

    @property
    def digest(self) -> Digest:
        """What its bytes must have."""
        if self.lfs_sha256 is not None:
            return Digest(SHA256, bytes.fromhex(self.lfs_sha256))
        return Digest(GIT_BLOB, bytes.fromhex(self.blob_id))

    def as_metadata(self) -> dict[str, Any]:
        """The entry that a version's metadata keeps under ``upstream_files``."""
        entry: dict[str, Any] = {"size": self.size_bytes, "blob_id": self.blob_id}
        if self.lfs_sha256 is not None:
            entry["lfs_sha256"] = self.lfs_sha256
        return entry


@dataclass(frozen=True, slots=True)
class Resolved:
    """A revision and the commit that it means now. ``answered_by`` is ``hub`` or ``mirror``."""

    repo: str
    revision: str
    commit: str
    answered_by: str


@dataclass(frozen=True, slots=True)
class HubListing:
    """One commit of a repo. ``vouched_by`` says whose word the digests are: ``hub`` or ``mirror``."""

    repo: str
    commit: str
    files: tuple[UpstreamFile, ...]
    vouched_by: str
    gated: bool = False
    licence: str | None = None
    base_models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    library: str | None = None
    pipeline_tag: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """The sum of the files' sizes."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class LeftOutFile:
    """A file that a selection does not take, and why."""

    file: UpstreamFile
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files of a listing to take."""

    chosen: tuple[UpstreamFile, ...]
    left_out: tuple[LeftOutFile, ...]


def check_files(repo: str, entries: Iterable[Mapping[str, Any]]) -> tuple[tuple[UpstreamFile, ...], tuple[str, ...]]:
    """The files that a server lists (path, size, blob_id, lfs_sha256), sorted by path, and warnings about
    them.

    A server is not trusted: raises UpstreamError for a path that leaves its directory, is no text, or clashes
    with another, and for what is no size or digest. Paths that differ only by case are a warning.
    """
    files: dict[str, UpstreamFile] = {}
    for entry in entries:
        file = _checked_file(repo, entry)
        if file.path in files:
            raise UpstreamError(f"{repo}: the server lists {file.path!r} twice")
        files[file.path] = file
    for path in files:
        parent, slash, _ = path.rpartition("/")
        while slash:
            if parent in files:
                raise UpstreamError(f"{repo}: the server lists {path!r} below {parent!r}, which is a file")
            parent, slash, _ = parent.rpartition("/")
    ordered = tuple(sorted(files.values(), key=lambda file: path_bytes(file.path)))
    return ordered, _case_clashes(ordered)


def _checked_file(repo: str, entry: Mapping[str, Any]) -> UpstreamFile:
    path, size, blob_id, sha256 = (entry[key] for key in ("path", "size", "blob_id", "lfs_sha256"))
    if not isinstance(path, str) or not _is_plain(path):
        raise UpstreamError(f"{repo}: the server lists {path!r}, which is no plain relative path")
    if not isinstance(size, int) or not 0 <= size < 1 << 63:
        raise UpstreamError(f"{repo}: the server gives {path!r} the size {size!r}")
    if not _is_hex(blob_id, 40) or not (sha256 is None or _is_hex(sha256, 64)):
        raise UpstreamError(f"{repo}: the server gives no digest of {path!r}")
    return UpstreamFile(path, size, blob_id, sha256)


def _is_plain(path: str) -> bool:
    try:
        check_path(path)
        path_bytes(path)
    except (InvalidInputError, UnicodeEncodeError):
        return False
    return True


def _is_hex(value: object, digits: int) -> bool:
    return isinstance(value, str) and len(value) == digits and _HEX.match(value) is not None


def _case_clashes(files: Sequence[UpstreamFile]) -> tuple[str, ...]:
    by_folded: dict[str, list[str]] = {}
    for file in files:
        by_folded.setdefault(file.path.casefold(), []).append(file.path)
    return tuple(
        f"{' and '.join(map(repr, paths))} differ only by case: not every file system can hold both"
        for paths in by_folded.values()
        if len(paths) > 1
    )
