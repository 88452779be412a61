"""Data cut into batches, and results put together again."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from casmodels.errors import NotLoadableError
from casstore.errors import InvalidInputError


def batches(data: Any, batch_size: int) -> Iterator[tuple[Any, int]]:
    """The data in order, ``batch_size`` items at a time, the last batch what is left; with each its number of items.

    Data is a list, an array, or a mapping of these, all as long. Raises InvalidInputError.
    """
    count = length(data)
    for start in range(0, count, batch_size):
        stop = min(start + batch_size, count)
        if isinstance(data, Mapping):
            yield {name: values[start:stop] for name, values in data.items()}, stop - start
        else:
            yield data[start:stop], stop - start


def joined(results: list[tuple[Any, int]]) -> Any:
    """The results of batches as one; with each goes its number of items. No results are an empty list.

    Arrays are put end to end, also those in mappings and tuples; lists are one list. Raises NotLoadableError for what
    cannot be told apart by item.
    """
    if not results:
        return []
    first = results[0][0]
    if isinstance(first, Mapping):
        return {name: joined([(result[name], count) for result, count in results]) for name in first}
    if isinstance(first, tuple):
        parts = [joined([(result[place], count) for result, count in results]) for place in range(len(first))]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    if first is None:
        return None
    for result, count in results:
        found = _items(result)
        if found != count:
            has = f"{found} results" if found is not None else f"a {type(result).__name__}"
            raise NotLoadableError(
                f"the model gives {has} for a batch of {count} items, so batches cannot be joined",
                remedy="call the model itself with each batch",
            )
    values = [result for result, _ in results]
    if isinstance(first, list):
        return [item for value in values for item in value]
    try:
        return values[0] if len(values) == 1 else _concatenated(values)
    except (ValueError, RuntimeError) as error:
        raise NotLoadableError(
            "the results of the batches differ in shape", remedy="give items of one shape, or one batch at a time"
        ) from error


def repeated(data: Any, items: int) -> Any:
    """The first ``items`` of the data; where there are fewer, they come again."""
    if isinstance(data, Mapping):
        return {name: repeated(values, items) for name, values in data.items()}
    numbers = [number % len(data) for number in range(items)]
    return [data[number] for number in numbers] if isinstance(data, list) else data[numbers]


def length(data: Any) -> int:
    """How many items the data has. Raises InvalidInputError."""
    if isinstance(data, Mapping):
        lengths = {length(values) for values in data.values()}
        if len(lengths) == 1:
            return lengths.pop()
        raise InvalidInputError(f"the parts of a batch are of {len(lengths)} lengths", remedy="make them as long")
    if isinstance(data, str | bytes) or not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
        raise _no_batch(data)
    try:
        return len(data)
    except TypeError:  # an array that is one number
        raise _no_batch(data) from None


def _no_batch(data: Any) -> InvalidInputError:
    return InvalidInputError(f"a {type(data).__name__} is no batch of data", remedy="give a list or an array")


def _items(result: Any) -> int | None:
    if isinstance(result, list):
        return len(result)
    shape = getattr(result, "shape", None)
    return int(shape[0]) if shape else None


def _concatenated(values: list[Any]) -> Any:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values[0], torch.Tensor):
        return torch.cat(values)
    import numpy as np

    return np.concatenate(values)
