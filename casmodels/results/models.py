"""What is told of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casmodels.results.quantised import Quantised


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model, as `list` and `info` show it. ``damaged`` is how many of its versions have a record that cannot be
    read; sizes leave out what nobody knows of these. ``signature`` is that of the newest, as of a `VersionResult`."""

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
    damaged: int = 0
    signature: str | None = None
    quantised: Quantised | None = None
