"""How a version was quantised, in its metadata, which has no floats: they stand there as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # most versions are not
    from casmodels.results import Quantised

QUANTISED: Final = "quantised"
_NUMBERS: Final = ("mean_similarity", "smallest_similarity", "latency_ratio")


def record_of(quantised: Quantised) -> dict[str, Any]:
    """What is noted under `QUANTISED`."""
    fields = {key: value for key, value in asdict(quantised).items() if value is not None}
    return {key: f"{value:.6f}" if key in _NUMBERS else value for key, value in fields.items()}


def quantised_of(metadata: Mapping[str, Any]) -> Quantised | None:
    """What a version's metadata says; None where it was not quantised, or where a newer release has said it."""
    found = metadata.get(QUANTISED)
    if not isinstance(found, Mapping):
        return None
    from casmodels.results import Quantised

    try:
        fields: dict[str, Any] = {key: float(value) if key in _NUMBERS else value for key, value in found.items()}
        return Quantised(**fields)
    except (TypeError, ValueError):
        return None
