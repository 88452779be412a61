"""From a stored version to a quantised one, in one step."""

from __future__ import annotations

from pathlib import Path

from casmodels.library import Store
from casmodels.loaders import load_model
from casmodels.loaders.inputs import read_input
from casmodels.quantising.dtypes import checked_dtype
from casmodels.quantising.quantise import quantize_model
from casmodels.results import QuantiseResult
from casmodels.specs import parse_versioned


def quantise_stored(
    store: Store,
    target: str,
    dtype: str = "int8",
    *,
    name: str | None = None,
    sample: Path | None = None,
    activations: bool = False,
    device: str | None = None,
    message: str = "",
) -> QuantiseResult:
    """Load a version, quantise it, and save that as ``name``, else as the name that was given with the type after it.

    ``sample`` is a file that `read_input` reads. Raises what these, `load_model`, `quantize_model` and
    `QuantisedModel.save` raise.
    """
    checked_dtype(dtype)
    name = name if name is not None else f"{parse_versioned(target).name}-{dtype}"
    store.check_own_name(name)
    items = read_input(sample) if sample is not None else None
    with (
        load_model(store, target, device=device) as model,
        quantize_model(model, dtype, activations=activations) as small,
    ):
        return small.save(name, sample=items, message=message)
