"""Models for programs: downloaded without blocking an event loop."""

from __future__ import annotations

from casmodels.manager.downloader import ModelDownloader
from casmodels.manager.results import DownloadResult

__all__ = ["DownloadResult", "ModelDownloader"]
