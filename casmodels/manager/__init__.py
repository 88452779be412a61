"""Models for programs: downloaded without blocking an event loop, loaded and unloaded by name."""

from __future__ import annotations

from casmodels.manager.downloader import ModelDownloader
from casmodels.manager.model_manager import ModelManager
from casmodels.manager.results import DownloadResult

__all__ = ["DownloadResult", "ModelDownloader", "ModelManager"]
