"""Damage told by the file that it is in: the engine knows chunks and blobs, and no names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from casstore.errors import DamagedError


@contextmanager
def damage_named(path: str, version: object) -> Iterator[None]:
    """Have a DamagedError that is raised within name the file and its version. Its class stays."""
    try:
        yield
    except DamagedError as error:
        raise type(error)(f"{path} in {version}: {error.what}", error.reason) from error
