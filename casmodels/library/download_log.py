"""What pulls report, in ``download.log``: the files as they end, warnings, and how each model's pull ended."""

from __future__ import annotations

from collections.abc import Mapping

from casmodels.addresses import shown_model
from casmodels.errors import with_remedy
from casmodels.log_files import LogFiles, LogName
from casmodels.progress import Progress, SilentProgress, Task
from casmodels.results import PullResult


def logged(progress: Progress | None, logs: LogFiles | None) -> Progress:
    """A progress that is told as before, and whose events are logged, too, where there are logs."""
    told = progress or SilentProgress()
    return told if logs is None else _Logged(told, logs)


def log_result(logs: LogFiles, result: PullResult) -> None:
    """Log how the pull of a model ended."""
    error = result.error
    logs.write(
        LogName.DOWNLOAD,
        {
            "logger": "casmodels.pull",
            "level": "error" if error is not None else "info",
            "model": shown_model(result.model),
            "status": result.status.value,
            "version": result.version,
            "files": result.files,
            "size_bytes": result.size_bytes,
            "downloaded_bytes": result.downloaded_bytes,
            "duration_seconds": round(result.seconds, 3),
            "error": with_remedy(error.message, error.remedy) if error is not None else None,
        },
    )


class _Logged:
    def __init__(self, progress: Progress, logs: LogFiles) -> None:
        self._progress = progress
        self._logs = logs

    def expect(self, files: int, size_bytes: int) -> None:
        self._progress.expect(files, size_bytes)

    def start(self, label: str, total_bytes: int | None) -> Task:
        return self._progress.start(label, total_bytes)

    def log(self, event: Mapping[str, object]) -> None:
        self._logs.write(LogName.DOWNLOAD, event)
        self._progress.log(event)
