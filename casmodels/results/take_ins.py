"""What taking in a folder of models gives back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TakeInStatus(StrEnum):
    """What became of one directory."""

    COMPLETED = "completed"
    CACHED = "cached"
    FAILED = "failed"
    LEFT_OUT = "left-out"


@dataclass(frozen=True, slots=True)
class TakeInResult:
    """One directory of the folder. ``name`` and ``version`` are what it became, or what the store had already;
    ``reason`` is a sentence that says why it failed or was left out."""

    path: str
    status: TakeInStatus
    name: str | None = None
    version: str | None = None
    files: int = 0
    size_bytes: int = 0
    stored_bytes: int = 0
    reason: str | None = None
