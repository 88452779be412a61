"""Exit codes: a contract with scripts. Nothing but this file maps errors to them."""

from __future__ import annotations

import errno
from enum import IntEnum

from casmodels.errors import InterruptedPullError, UpstreamError
from casstore.errors import IntegrityError, InvalidInputError, NotFoundError, StoreError, UnusableStoreError


class Exit(IntEnum):
    """What the process ends with."""

    DONE = 0
    PARTLY = 1
    USAGE = 2
    NOT_FOUND = 3
    INTEGRITY = 4
    STORE = 5
    UPSTREAM = 6
    INTERRUPTED = 130


MEANINGS = {
    Exit.DONE: "done",
    Exit.PARTLY: "some of it failed",
    Exit.USAGE: "wrong usage",
    Exit.NOT_FOUND: "not found: model, repo, revision, version or path",
    Exit.INTEGRITY: "a wrong byte, here or in transit",
    Exit.STORE: "the store cannot be used: busy, full, not writable, newer",
    Exit.UPSTREAM: "upstream or the network failed, or refuses",
    Exit.INTERRUPTED: "interrupted",
}

# The first that fits counts, so the narrower classes stand first.
_CLASSES: tuple[tuple[type[Exception], Exit], ...] = (
    (InterruptedPullError, Exit.INTERRUPTED),
    (UpstreamError, Exit.UPSTREAM),
    (InvalidInputError, Exit.USAGE),
    (NotFoundError, Exit.NOT_FOUND),
    (IntegrityError, Exit.INTEGRITY),
    (UnusableStoreError, Exit.STORE),
    (StoreError, Exit.PARTLY),
    (FileNotFoundError, Exit.NOT_FOUND),
    (NotADirectoryError, Exit.USAGE),
    (IsADirectoryError, Exit.USAGE),
    (PermissionError, Exit.STORE),
    (ConnectionError, Exit.UPSTREAM),
    (TimeoutError, Exit.UPSTREAM),
)
_UNUSABLE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOLCK, errno.EMFILE, errno.ENFILE}


def exit_of_error(error: Exception) -> Exit:
    """The code for an exception that ended a command."""
    if isinstance(error, OSError) and error.errno in _UNUSABLE_DISK:
        return Exit.STORE
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return Exit.USAGE
    return next((code for kind, code in _CLASSES if isinstance(error, kind)), Exit.PARTLY)


def exit_of_kind(kind: str) -> Exit:
    """The code for an error that a result carries as data: that of the error class of this kind."""
    waiting: list[type[StoreError]] = [StoreError]
    while waiting:
        candidate = waiting.pop()
        if candidate.kind == kind:
            return next(code for base, code in _CLASSES if issubclass(candidate, base))
        waiting.extend(candidate.__subclasses__())
    return Exit.PARTLY


def exit_of_all(kinds: list[str | None]) -> Exit:
    """The code for several jobs: done, or what all failed of, or 1 where only some failed or they disagree."""
    if not any(kinds):
        return Exit.DONE
    codes = {exit_of_kind(kind) if kind is not None else Exit.DONE for kind in kinds}
    return codes.pop() if len(codes) == 1 else Exit.PARTLY
