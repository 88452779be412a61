"""What a model does and under which licence, as its version, its spec or its card says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from casmodels.library.names import newest
from casmodels.specs import ModelSpec, type_of_pipeline
from casstore.catalog import Reader


def type_of(metadata: Mapping[str, Any], spec: ModelSpec | None) -> str | None:
    """What a model does: as its version says, else its spec, else the tag of its card."""
    known = metadata.get("type") or (spec.model_type if spec is not None else None)
    found = known or type_of_pipeline(metadata.get("pipeline_tag"))
    return str(found) if found is not None else None


def licence_of(metadata: Mapping[str, Any], spec: ModelSpec | None) -> str | None:
    """A model's licence: as its version says, else its spec."""
    return metadata.get("licence") or (spec.licence if spec is not None else None)


def type_metadata(reader: Reader, name: str, told: str | None) -> dict[str, str]:
    """What a new version says about the model's type: what it is told, else what the one before was."""
    before = newest(reader, name)
    model_type = told or (before.version.metadata.get("type") if before is not None else None)
    return {"type": model_type} if model_type is not None else {}
