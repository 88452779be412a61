"""File formats: where a model file's tensors lie. What is not understood is opaque bytes, never an error."""

from __future__ import annotations

from casmodels.formats.find import Finder, find_spans, read_tensors
from casmodels.formats.layout import DoubtError, StoredTensor

__all__ = ["DoubtError", "Finder", "StoredTensor", "find_spans", "read_tensors"]
