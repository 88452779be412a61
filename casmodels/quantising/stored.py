"""From a stored version to a quantised one, in one step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from casmodels.library import Store
from casmodels.loaders import load_model
from casmodels.quantising.dtypes import checked_dtype
from casmodels.quantising.quantise import quantize_model
from casmodels.results import QuantiseResult
from casmodels.specs import parse_versioned
from casstore.errors import InvalidInputError, NotFoundError
from casstore.files import unreadable


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

    ``sample`` is a file that `read_sample` reads. Raises what these, `load_model`, `quantize_model` and
    `QuantisedModel.save` raise.
    """
    checked_dtype(dtype)
    name = name if name is not None else f"{parse_versioned(target).name}-{dtype}"
    store.check_own_name(name)
    items = read_sample(sample) if sample is not None else None
    with (
        load_model(store, target, device=device) as model,
        quantize_model(model, dtype, activations=activations) as small,
    ):
        return small.save(name, sample=items, message=message)


def read_sample(path: Path) -> Any:
    """A sample: of a ``.json`` file its list, or its object of lists; of any other the lines that are not blank.

    Raises NotFoundError, InvalidInputError.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"{path} does not exist", remedy="check the path") from error
    except OSError as error:
        raise unreadable(error, path, str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is no text in UTF-8", remedy="give a text per line, or JSON") from error
    if path.suffix.lower() != ".json":
        return [line for line in text.splitlines() if line.strip()]
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path} is no JSON: {error}", remedy="give a list, or an object of lists") from error
    lists = list(found.values()) if isinstance(found, dict) else [found]
    if not lists or not all(isinstance(each, list) for each in lists):
        raise InvalidInputError(f"{path} holds no sample", remedy="give a list, or an object of lists")
    return found
