"""What is told of a version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casmodels.results.quantised import Quantised


@dataclass(frozen=True, slots=True)
class VersionResult:
    """One version of a name. ``created`` is ISO 8601 in UTC; ``stored_bytes`` is all that it needs, shared or not.

    ``damaged`` says which of its records cannot be read, if any; what stands in that one is None. ``signature`` is
    ``kept``, or ``model.sig`` for a version that comes with such a file, or None.
    """

    name: str
    version: str
    tags: tuple[str, ...]
    created: str | None
    source: str | None
    revision: str | None
    message: str | None
    files: int | None
    size_bytes: int | None
    stored_bytes: int | None
    pinned: bool = False
    damaged: str | None = None
    signature: str | None = None
    quantised: Quantised | None = None


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """A removed version or name; ``freeable_bytes`` is what `gc` would free now."""

    name: str
    versions: tuple[str, ...]
    freeable_bytes: int
