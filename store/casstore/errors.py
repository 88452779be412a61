"""The engine's errors: one tree, grouped by what a caller would do about them.

Every error carries one sentence for people (``str(error)``), a ``remedy`` (what to do next, or None) and its
own fields. The command line maps the groups to exit codes; nothing else does.
"""

from __future__ import annotations

from typing import ClassVar


class StoreError(Exception):
    """Base of every error raised on purpose; ``kind`` is its stable name for programs."""

    kind: ClassVar[str] = "error"

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class InvalidInputError(StoreError):
    """What was given cannot be used: ask for something else."""

    kind = "invalid-input"


class NotFoundError(StoreError):
    """The model, version, tag, path or blob that was named is not there."""

    kind = "not-found"


class FailedError(StoreError):
    """The work could not be done this time, through no fault of the store: look at the cause, try again."""

    kind = "failed"


class ChangedWhileReadError(FailedError):
    """A source file changed while it was being read, so no consistent state of it could be saved."""

    kind = "changed-while-read"

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} changed while it was read", remedy="stop what writes to it, then try again")
        self.path = path


class IntegrityError(StoreError):
    """Bytes are not what their digest says: never use them."""

    kind = "integrity"


class DamagedError(IntegrityError):
    """A stored frame is missing or wrong."""

    kind = "damaged"

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(
            f"{what} is damaged: {reason}", remedy="run `casmodels verify --data`, then `casmodels repair`"
        )
        self.what = what
        self.reason = reason


class UnreadableError(DamagedError):
    """The disk fails to give a frame that may be whole all the same: nobody may decide as if it were lost."""


class FalseRecipeError(DamagedError):
    """A recipe makes another blob than the one whose SHA-256 it has, though all its chunks are right."""


class DigestMismatchError(IntegrityError):
    """A file's bytes do not have the digest that was promised."""

    kind = "digest-mismatch"

    def __init__(self, path: str, expected: str, actual: str) -> None:
        super().__init__(f"{path} has digest {actual}, expected {expected}", remedy="fetch it again")
        self.path = path
        self.expected = expected
        self.actual = actual


class UnusableStoreError(StoreError):
    """The store as a whole cannot be used now."""

    kind = "unusable-store"


class NotAStoreError(UnusableStoreError):
    """The directory is neither empty nor a store."""

    kind = "not-a-store"


class NewerFormatError(UnusableStoreError):
    """The store was written by a newer release."""

    kind = "newer-format"


class BusyError(UnusableStoreError):
    """Somebody else holds what this operation needs, for longer than it was ready to wait."""

    kind = "busy"


class FullError(UnusableStoreError):
    """The disk or a quota is full."""

    kind = "full"


class DiskError(UnusableStoreError):
    """The disk fails to read or write."""

    kind = "io"

    def __init__(self, message: str) -> None:
        super().__init__(message, remedy="the disk may be failing: look into the system's log, and save what is on it")


class TooManyFilesError(UnusableStoreError):
    """The process, or the machine, may open no more files."""

    kind = "too-many-files"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} cannot be opened: too many files are open",
            remedy="raise the limit (`ulimit -n`), or close other programs",
        )


class NotWritableError(UnusableStoreError):
    """The store or a target directory may not be written."""

    kind = "not-writable"


class UnfitFileSystemError(UnusableStoreError):
    """The file system lacks what the store needs, such as working locks."""

    kind = "unfit-file-system"


class NeedsRepairError(UnusableStoreError):
    """Index and journal contradict each other; only `repair` may write."""

    kind = "needs-repair"

    def __init__(self, message: str) -> None:
        super().__init__(message, remedy="run `casmodels repair`")
