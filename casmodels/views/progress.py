"""Whom the writing of files tells how it goes: what `casmodels.library.progress` gives, as far as it is needed here."""

from __future__ import annotations

from typing import Protocol


class FileTask(Protocol):
    """One file that is being written."""

    def advance(self, n: int) -> None:
        """So many bytes more are written."""

    def done(self) -> None:
        """It has ended, well or badly."""


class WriteProgress(Protocol):
    """Called from any thread."""

    def expect(self, files: int, size_bytes: int) -> None:
        """So many files, of so many bytes in all, are going to be written."""

    def start(self, label: str, total_bytes: int | None) -> FileTask:
        """A file is begun."""


class _NoTask:
    def advance(self, n: int) -> None:
        pass

    def done(self) -> None:
        pass


class Unwatched:
    """Tells nobody."""

    def expect(self, files: int, size_bytes: int) -> None:
        pass

    def start(self, label: str, total_bytes: int | None) -> FileTask:  # noqa: ARG002
        return _NoTask()
