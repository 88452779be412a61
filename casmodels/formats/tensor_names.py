"""What a pickled tensor is called: the name that the same tensor has in a safetensors file, where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from casmodels.formats.pickles import Made, Table, Tensor, Unpickled, Value

MAX_NAME_CHARACTERS: Final = 256
MAX_PATH_CHARACTERS: Final = 4096
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
    for branch in walk(unpickled):
        if isinstance(branch.value, Tensor) and branch.name:
            names.setdefault(branch.value, branch.name)
    return names


@dataclass(frozen=True, slots=True)
class Branch:
    """A value that the root leads to: what the same tensor goes by in other formats, and all of the keys that lead
    there; None for what has no such name."""

    value: Value
    name: str | None
    path: str | None


def walk(unpickled: Unpickled) -> Iterator[Branch]:
    """Every tensor under each of its names, and every table, list or made value once, in the order of the file."""
    seen: set[int] = set()
    branches: list[Iterator[Branch]] = [iter([Branch(unpickled.root, "", "")])]
    while branches:
        for branch in branches[-1]:
            value = branch.value
            if isinstance(value, Tensor):
                yield branch
            elif isinstance(value, Table | Made | list | tuple) and id(value) not in seen:
                seen.add(id(value))
                yield branch
                if len(branches) < MAX_DEPTH:
                    branches.append(_children(branch))
                    break
        else:
            branches.pop()


def _children(parent: Branch) -> Iterator[Branch]:
    value, name, path = parent.value, parent.name, parent.path
    if isinstance(value, Made):
        return (Branch(child, name, path) for child in value.parts)
    pairs = value.pairs if isinstance(value, Table) else enumerate(value)
    return (Branch(child, _joined(name, key), _path(path, key)) for key, child in pairs)


def _path(path: str | None, key: Value) -> str | None:
    if path is None or not (isinstance(key, str) or type(key) is int):
        return None
    if key in _TRANSPARENT:
        return path
    joined = f"{path}.{key}" if path else str(key)
    return joined if len(joined) <= MAX_PATH_CHARACTERS else None


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
