"""What is told of a view."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ViewResult:
    """A Hub cache. ``exports`` are the variables a shell needs, in order.

    Of a view by category, ``path`` is its directory, ``folders`` are the models' own there, and the Hub cache is the
    one in it.
    """

    hf_home: str
    models: tuple[str, ...]
    views_bytes: int
    exports: dict[str, str]
    link: str = "copy"
    kept: tuple[str, ...] = ()
    layout: str = "hub"
    path: str | None = None
    folders: dict[str, str] = field(default_factory=dict)
