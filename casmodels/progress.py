"""How long work tells what it is doing; the command line draws it, other callers may do what they like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Task(Protocol):
    """One thing under way, such as one file. Its methods may be called from any thread."""

    def advance(self, n: int) -> None:
        """So many bytes more are done (fewer, if ``n`` is negative: they have to be done again)."""

    def done(self) -> None:
        """It has ended, well or badly. Calling it twice is harmless."""


class Progress(Protocol):
    """Who is told. Its methods may be called from any thread."""

    def expect(self, files: int, size_bytes: int) -> None:
        """So much more is to come; what is never announced counts from its ``start``."""

    def start(self, label: str, total_bytes: int | None) -> Task:
        """Something begins; ``total_bytes`` is None where nobody knows."""

    def log(self, event: Mapping[str, object]) -> None:
        """Something happened that belongs into a log.

        ``text`` says it to people (if missing, a sentence is made of the fields); ``logger`` (``casmodels.pull``)
        and ``level`` (``debug``, ``info``, ``warning``, ``error``; info if missing) sort it. A file's download has
        ``model``, ``status`` (``completed``, ``cached``, ``failed``), ``path``, ``size_bytes``,
        ``duration_seconds`` and ``error`` (None, or a sentence). What whoever asked should know before more happens
        has ``model`` and ``warning``. No field may be called as an attribute of `logging.LogRecord`.
        """


class _SilentTask:
    def advance(self, n: int) -> None:
        pass

    def done(self) -> None:
        pass


class SilentProgress:
    """Tells nobody."""

    def expect(self, files: int, size_bytes: int) -> None:
        pass

    def start(self, label: str, total_bytes: int | None) -> Task:  # noqa: ARG002
        return _SilentTask()

    def log(self, event: Mapping[str, object]) -> None:
        pass
