"""The place on this machine that a version was taken from."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from casmodels.library.names import Found
from casstore.errors import InvalidInputError

SINGLE_FILE = "single_file"
"""Metadata of a version that was taken from a file, not from a directory."""


def origin_of(found: Found) -> Path:
    """The directory or file. Raises InvalidInputError for a model that was pulled."""
    source = urlsplit(found.version.source)
    if source.scheme != "file" or found.version.metadata.get("kind") != "checkpoint":
        raise InvalidInputError(
            f"{found.name} was not saved from a directory of yours but comes from {found.version.source}",
            remedy=f"`casmodels checkout {found.name} DIR` or `casmodels view {found.name}` gives it out",
        )
    return Path(unquote(source.path, errors="surrogateescape"))
