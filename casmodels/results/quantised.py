"""What is told of a version that was quantised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantised:
    """How a version was made: of ``parent`` (NAME@ID), to ``dtype``, by ``method``.

    The sizes are of the weights, of both versions. Where both were tried on a sample, of so many items, the
    similarities are the cosines of their outputs, the mean one and the smallest, and the latency ratio is the time that
    the quantised model took for it, over its parent's; else these are None.
    """

    parent: str
    dtype: str
    method: str
    weights_bytes: int
    parent_weights_bytes: int
    sample_items: int = 0
    mean_similarity: float | None = None
    smallest_similarity: float | None = None
    latency_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class QuantiseResult:
    """A quantised version. ``stored_bytes`` is what it added."""

    name: str
    version: str
    parent: str
    files: int
    size_bytes: int
    stored_bytes: int
    seconds: float
    quantised: Quantised
    unchanged: bool = False
