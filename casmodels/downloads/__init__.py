"""Many files at once over HTTP: resumed after a kill, verified, retried, and never trusted before the last
byte.
"""

from __future__ import annotations

from casmodels.downloads.download import Credentials, Download, Downloaded, Location, Outcome
from casmodels.downloads.downloader import Downloader
from casmodels.downloads.partials import PartialFile, list_partials, remove_partials
from casmodels.downloads.retries import RetryPolicy

__all__ = [
    "Credentials",
    "Download",
    "Downloaded",
    "Downloader",
    "Location",
    "Outcome",
    "PartialFile",
    "RetryPolicy",
    "list_partials",
    "remove_partials",
]
