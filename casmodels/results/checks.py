"""What checking and mending give back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casmodels.results.signatures import SignatureResult


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
    """What a check found. ``data`` says whether every stored byte was read and hashed, or the structure only;
    ``signature`` is the one that was checked, too."""

    ok: bool
    data: bool
    checked_bytes: int
    damaged: tuple[Damage, ...]
    versions: int = 0
    chunks: int = 0
    seconds: float = 0.0
    signature: SignatureResult | None = None


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What a repair brought back, what is lost, and the paths it was to look at and could not read."""

    recovered_versions: int
    healed_chunks: int
    lost: tuple[Damage, ...]
    unread: tuple[str, ...] = ()
