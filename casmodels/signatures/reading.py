"""Reading small files that a user names: keys, passwords, signatures. They may be pipes, so each is read once."""

from __future__ import annotations

from pathlib import Path

from casstore import files
from casstore.errors import InvalidInputError, NotFoundError, NotWritableError


def read_start(path: Path, limit_bytes: int) -> bytes:
    """The first bytes of a file, so many at most.

    Raises NotFoundError, InvalidInputError, and the engine's own errors for a disk that fails.
    """
    try:
        with open(path, "rb") as file:
            return file.read(limit_bytes)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}", remedy="check the path") from error
    except ValueError as error:
        raise InvalidInputError(f"{str(path)!r} cannot be a path", remedy="check the path") from error
    except OSError as error:
        known = files.explain(error, path)
        if known is not None and not isinstance(known, NotWritableError):
            raise known from error
        reason = (error.strerror or str(error)).lower()
        raise InvalidInputError(f"{path} cannot be read: {reason}", remedy="name a file that you may read") from error
