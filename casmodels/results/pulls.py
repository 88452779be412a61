"""What a pull gives back."""

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
