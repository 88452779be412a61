"""What operations give back. The field names are the JSON fields of the command line's contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class PullStatus(StrEnum):
    """How a pull ended."""

    COMPLETED = "completed"
    CACHED = "cached"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Upstream files that a pull did not take: how many, how large, and an example of why."""

    files: int = 0
    size_bytes: int = 0
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ErrorResult:
    """An error as data."""

    kind: str
    message: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class PullResult:
    """One model's pull. ``path`` is None until a view has the model; ``stored_bytes`` is what this pull added."""

    model: str
    repo: str | None
    status: PullStatus
    name: str | None = None
    version: str | None = None
    revision: str | None = None
    files: int = 0
    left_out: LeftOut = field(default_factory=LeftOut)
    size_bytes: int = 0
    downloaded_bytes: int = 0
    stored_bytes: int = 0
    seconds: float = 0.0
    path: str | None = None
    vouched_by: str | None = None
    warnings: tuple[str, ...] = ()
    error: ErrorResult | None = None


@dataclass(frozen=True, slots=True)
class CheckpointResult:
    """A new version. ``stored_bytes`` is what it added; ``read_files`` counts files whose content was read."""

    name: str
    version: str
    parent: str | None
    files: int
    size_bytes: int
    stored_bytes: int
    seconds: float
    read_files: int = 0
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class VersionResult:
    """One version of a name. ``created`` is ISO 8601 in UTC; ``stored_bytes`` is all that it needs, shared or not."""

    name: str
    version: str
    tags: tuple[str, ...]
    created: str
    source: str
    revision: str | None
    message: str
    files: int
    size_bytes: int
    stored_bytes: int
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class CheckoutResult:
    """A directory brought to a version. ``kept`` are the user's own files that were left as they are."""

    name: str
    version: str
    path: str
    files: int
    size_bytes: int
    written_bytes: int
    written_files: int
    seconds: float
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model, as `list` and `info` show it."""

    id: str
    name: str
    type: str | None
    aliases: tuple[str, ...]
    repo: str | None
    installed: bool
    versions: int = 0
    size_bytes: int = 0
    stored_bytes: int = 0
    parameters: str | None = None
    context_length: int | None = None
    licence: str | None = None
    description: str | None = None
    base_models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EntryResult:
    """One path of a version. ``kind`` is file, link or directory; ``digest`` the blob's SHA-256."""

    path: str
    kind: str
    size_bytes: int
    mode: str
    digest: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class ViewResult:
    """A Hub cache. ``exports`` are the variables a shell needs, in order."""

    hf_home: str
    models: tuple[str, ...]
    views_bytes: int
    exports: dict[str, str]
    link: str = "copy"
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """A removed version or name; ``freeable_bytes`` is what `gc` would free now."""

    name: str
    versions: tuple[str, ...]
    freeable_bytes: int


@dataclass(frozen=True, slots=True)
class Damage:
    """One wrong or missing piece and who suffers from it."""

    model: str | None
    version: str | None
    path: str | None
    chunk: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a check found. ``data`` says whether every stored byte was read and hashed, or the structure only."""

    ok: bool
    data: bool
    checked_bytes: int
    damaged: tuple[Damage, ...]
    versions: int = 0
    chunks: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What a repair brought back and what is lost."""

    recovered_versions: int
    healed_chunks: int
    lost: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class GcResult:
    """What gc freed, or with a dry run would free."""

    reclaimed_bytes: int
    chunks: int
    packs: int
    seconds: float
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class CleanupResult:
    """What cleanup removed; ``kept`` are files that others made, left alone."""

    reclaimed_bytes: int
    removed: int = 0
    kept: tuple[str, ...] = ()
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class StatsResult:
    """Where the bytes go. ``stored_bytes`` counts all files that the store needs, index included, views not."""

    logical_bytes: int
    unique_bytes: int
    stored_bytes: int
    index_bytes: int
    views_bytes: int
    models: int
    versions: int
    chunks: int
    by_codec: dict[str, dict[str, int]]
