"""What a pickled tensor is called: the name that the same tensor has in a safetensors file, where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from casmodels.formats.pickles import Made, Table, Tensor, Unpickled, Value

MAX_NAME_CHARACTERS: Final = 256
MAX_DEPTH: Final = 1000

_TRANSPARENT: Final = {"_parameters", "_buffers", "_modules"}
"""Where a pickled torch.nn.Module keeps its parts; a state dict's names leave these out."""


def tensor_names(unpickled: Unpickled) -> dict[Tensor, str]:
    """A name for each tensor that the root leads to: the first one found, in the order of the file.

    A tensor whose own key has a dot goes by it alone, whatever dicts it lies in (``state_dict``, ``model``);
    any other by the keys that lead to it, joined by dots. One whose name would be too long, or that lies too
    deep, has none.
    """
    names: dict[Tensor, str] = {}
    seen: set[int] = set()
    branches: list[Iterator[tuple[Value, str | None]]] = [iter([(unpickled.root, "")])]
    while branches:
        for value, name in branches[-1]:
            if isinstance(value, Tensor):
                if name:
                    names.setdefault(value, name)
            elif isinstance(value, Table | Made | list | tuple) and id(value) not in seen:
                seen.add(id(value))
                if len(branches) < MAX_DEPTH:
                    branches.append(_children(value, name))
                    break
        else:
            branches.pop()
    return names


def _children(
    value: Table | Made | list[Value] | tuple[Value, ...], name: str | None
) -> Iterator[tuple[Value, str | None]]:
    if isinstance(value, Table):
        return ((child, _joined(name, key)) for key, child in value.pairs)
    if isinstance(value, Made):
        return ((child, name) for child in value.parts)
    return ((child, _joined(name, index)) for index, child in enumerate(value))


def _joined(name: str | None, key: Value) -> str | None:
    """The name of what lies under a key."""
    if isinstance(key, str) and len(key) <= MAX_NAME_CHARACTERS:
        if "." in key:
            return key
        if key in _TRANSPARENT:
            return name
    elif type(key) is not int or not 0 <= key < 1 << 63:
        return None
    if name is None:
        return None
    joined = f"{name}.{key}" if name else str(key)
    return joined if len(joined) <= MAX_NAME_CHARACTERS else None
