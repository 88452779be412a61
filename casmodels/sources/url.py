"""A single file at a URL."""

from __future__ import annotations

from dataclasses import dataclass

from casmodels.downloads import Download, Downloaded
from casstore.digests import Digest


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A file at an http(s) URL; ``checksum`` is the SHA-256 of the bytes as they are served, or None to learn
    it.
    """

    url: str
    checksum: Digest | None = None

    @classmethod
    def parse(cls, url: str, checksum: str | None = None) -> UrlSource:
        """Check both. Raises InvalidInputError."""
        raise NotImplementedError

    @property
    def clean_url(self) -> str:
        """The URL without user, password, query and fragment: fit for messages and metadata."""
        raise NotImplementedError

    def download(self) -> Download:
        """What to ask of a `Downloader`; no token is ever sent."""
        raise NotImplementedError

    def file_name(self, downloaded: Downloaded | None = None) -> str:
        """A safe name for the file: what the server suggests, else the URL's last part."""
        raise NotImplementedError
