"""What a checkout gives back."""

from __future__ import annotations

from dataclasses import dataclass


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
