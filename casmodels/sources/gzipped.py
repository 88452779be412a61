"""A single gzip file as a source: unpacked on the way in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """How much one gzip file may become. The ratio counts once ``grace_bytes`` have come out."""

    size_bytes: int = 1 << 40
    ratio: float = 250.0
    grace_bytes: int = 64 << 20


def is_gzip_name(name: str) -> bool:
    """Whether a source of that name is unpacked."""
    raise NotImplementedError


def unpacked_name(name: str) -> str:
    """The name without ``.gz``."""
    raise NotImplementedError


def unpack(source: Path, target: Path, limits: UnpackLimits | None = None) -> int:
    """Write what a gzip file holds to ``target``; gives its size in bytes. Streams: memory does not grow.

    Raises WrongBytesError for what is no gzip, cut short, or followed by something else; InvalidInputError
    over a limit. Nothing is left at ``target`` then.
    """
    raise NotImplementedError
