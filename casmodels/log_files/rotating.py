"""One log file that rotates, to which several processes and threads write at once.

concurrent-log-handler has the lock for that, rotates under it, and knows of forks (ADR 037).
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from concurrent_log_handler import ConcurrentRotatingFileHandler

from casmodels.events import JsonLines

FILE_BYTES: Final = 8 << 20
"""A file is put aside when it has become so large."""
KEPT_FILES: Final = 3
"""So many that were put aside are kept: ``download.log.1`` is the newest."""

_log = logging.getLogger(__name__)


class LogFile(ConcurrentRotatingFileHandler):
    """A line is written whole or not at all, and that it cannot be written is told once."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), maxBytes=FILE_BYTES, backupCount=KEPT_FILES, keep_file_open=False)
        self.setFormatter(JsonLines())
        self._is_broken = False

    def emit(self, record: logging.LogRecord) -> None:
        """See Handler."""
        with suppress(OSError):  # to write there says it, too
            os.makedirs(os.path.dirname(self.baseFilename), exist_ok=True)  # noqa: PTH103, PTH120
        super().emit(record)

    def do_write(self, msg: str) -> None:
        """Without a buffer: what a full disk leaves in one would come out in the middle of another line."""
        with open(self.baseFilename, "ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            rest = memoryview(msg.encode("ascii") + b"\n")
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                with suppress(OSError):
                    file.truncate(end)
                raise
        self._is_broken = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 (logging names it so)
        """See Handler."""
        if not self._is_broken:
            self._is_broken = True
            error = sys.exc_info()[1]
            reason = getattr(error, "strerror", None) or error
            _log.warning("%s cannot be written: %s; what belongs there is lost", self.baseFilename, reason)


@cache
def log_file(path: Path) -> LogFile:
    """The same for all who write there."""
    return LogFile(path)
