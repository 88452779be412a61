"""The names that models have in these files: short ones, since folders are called so, too."""

from __future__ import annotations

from typing import TypeGuard

from casmodels.configs.json_file import checked_text
from casstore.errors import InvalidInputError
from casstore.refs import check_name


def checked_name(value: object) -> str:
    """A name without a slash. Raises InvalidInputError."""
    name = check_name(checked_text(value))
    if "/" in name:
        raise InvalidInputError(f"{name!r} has a slash", remedy="a name is short; 'repo' says where a model comes from")
    return name


def is_name(value: object) -> TypeGuard[str]:
    """Whether it is such a name."""
    try:
        checked_name(value)
    except InvalidInputError:
        return False
    return True
