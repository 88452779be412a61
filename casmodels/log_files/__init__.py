"""The logs of models as files: ``models/{download,inference,performance}.log`` below a directory, in JSON lines."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from casmodels.events import record_of


class LogName(StrEnum):
    """What stands in a log."""

    DOWNLOAD = "download"
    INFERENCE = "inference"
    PERFORMANCE = "performance"


class LogFiles:
    """The logs below one directory, which is made with the first line.

    A log that cannot be written is one warning, and no failure of what was to be logged.
    """

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "models"

    def path(self, name: LogName) -> Path:
        """Where a log is."""
        return self._folder / f"{name}.log"

    def write(self, name: LogName, event: Mapping[str, object]) -> None:
        """Add a line. `casmodels.progress.Progress.log` says which keys an event may have."""
        from casmodels.log_files.rotating import log_file  # most programs never write one

        log_file(self.path(name)).handle(record_of(event))
