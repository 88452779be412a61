"""What a pull tells of each download, while it goes on and when it has ended."""

from __future__ import annotations

from casmodels.downloads import Download
from casmodels.progress import Progress, Task


class DownloadReport:
    """Tells ``progress`` of the downloads of one model."""

    def __init__(self, progress: Progress, model: str) -> None:
        self._progress = progress
        self._model = model
        self._tasks: dict[str, Task] = {}

    def advance(self, download: Download, change_bytes: int) -> None:
        """So many bytes more, or with a negative number fewer, are here. Called from any thread."""
        task = self._tasks.get(download.key)
        if task is None:
            task = self._tasks[download.key] = self._progress.start(download.name, download.size_bytes)
        task.advance(change_bytes)

    def end(self, download: Download) -> None:
        """The download has ended, well or badly."""
        task = self._tasks.pop(download.key, None)
        if task is not None:
            task.done()

    def warn(self, warning: str) -> None:
        """Something that whoever asked for the model should know before it is here."""
        self._progress.log(
            {
                "logger": "casmodels.pull",
                "level": "warning",
                "text": f"{self._model}: {warning}",
                "model": self._model,
                "warning": warning,
            }
        )

    def log(self, path: str, status: str, size_bytes: int, seconds: float = 0.0, error: str | None = None) -> None:
        """One file is done with: ``completed``, ``cached`` or ``failed``."""
        self._progress.log(
            {
                "logger": "casmodels.pull",
                "level": "error" if error else "info",
                "model": self._model,
                "status": status,
                "path": path,
                "size_bytes": size_bytes,
                "duration_seconds": round(seconds, 3),
                "error": error,
            }
        )
