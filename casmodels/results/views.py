"""What is told of a Hub cache."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ViewResult:
    """A Hub cache. ``exports`` are the variables a shell needs, in order."""

    hf_home: str
    models: tuple[str, ...]
    views_bytes: int
    exports: dict[str, str]
    link: str = "copy"
    kept: tuple[str, ...] = ()
