"""What an upstream repo holds, before any byte of it is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from casstore.digests import GIT_BLOB, SHA256, Digest


@dataclass(frozen=True, slots=True)
class UpstreamFile:
    """A file of a repo. Large files (LFS) are named by their SHA-256, the others by their git blob id alone."""

    path: str
    size_bytes: int
    blob_id: str | None = None
    lfs_sha256: str | None = None

    @property
    def digest(self) -> Digest | None:
        """What its bytes must have; None where upstream names neither."""
        if self.lfs_sha256 is not None:
            return Digest(SHA256, bytes.fromhex(self.lfs_sha256))
        return Digest(GIT_BLOB, bytes.fromhex(self.blob_id)) if self.blob_id is not None else None

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
