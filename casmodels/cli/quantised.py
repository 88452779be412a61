"""What is told people of a quantised version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casmodels.cli.output import short_id
from casmodels.quantities import size

if TYPE_CHECKING:
    from casmodels.results import Quantised


def told(quantised: Quantised) -> str:
    """In one line: the type, what it was made from, and how it compares with that."""
    parent, _, version = quantised.parent.rpartition("@")
    text = (
        f"{quantised.dtype} of {parent}@{short_id(version)} ({quantised.method}), weights of "
        f"{size(quantised.weights_bytes)} for {size(quantised.parent_weights_bytes)}"
    )
    if quantised.mean_similarity is None or quantised.smallest_similarity is None or quantised.latency_ratio is None:
        return text
    return (
        f"{text}, similarity {quantised.mean_similarity:.4f} (smallest {quantised.smallest_similarity:.4f}) and "
        f"{quantised.latency_ratio:.2f} of its time on a sample of {quantised.sample_items}"
    )
