"""A single file at a URL."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from email.message import Message
from typing import Final
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from casmodels.downloads import Download, Downloaded, Location
from casstore.digests import SHA256, Digest
from casstore.errors import InvalidInputError
from casstore.trees import path_text

_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f/\\]")
_LONGEST_NAME_BYTES: Final = 200
_NAMELESS: Final = "model"


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A file at an http(s) URL; ``checksum`` is the SHA-256 of the bytes as they are served, or None to learn
    it.
    """

    url: str
    checksum: Digest | None = None

    @classmethod
    def parse(cls, url: str, checksum: str | None = None) -> UrlSource:
        """Check both; ``checksum`` is ``sha256:…``, or the bare hex digits. Raises InvalidInputError."""
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise InvalidInputError(
                f"{url!r} is not the address of a file", remedy="give one such as https://host/model.pt"
            )
        digest = Digest.parse(checksum, default=SHA256) if checksum is not None else None
        if digest is not None and digest.algorithm != SHA256:
            raise InvalidInputError(
                f"a checksum is a SHA-256, not {digest.algorithm}", remedy="give sha256:<64 hex digits>"
            )
        return cls(url, digest)

    @property
    def clean_url(self) -> str:
        """The URL without user, password, query and fragment: fit for messages and metadata."""
        parts = urlsplit(self.url)
        return SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "").geturl()

    def download(self) -> Download:
        """What to ask of a `Downloader`; no token is ever sent."""
        key = f"url-{hashlib.sha256(self.url.encode('utf-8', 'surrogatepass')).hexdigest()}"
        return Download(self.clean_url, key, (Location(self.url),), expected=self.checksum)

    def file_name(self, downloaded: Downloaded | None = None) -> str:
        """A safe name for the file: what the server suggests, else the last part of the URL's path."""
        suggested = _suggested(downloaded.disposition) if downloaded is not None else None
        last = urlsplit(self.url).path.rstrip("/").rpartition("/")[2]
        return _safe(suggested) or _safe(path_text(unquote_to_bytes(last))) or _NAMELESS


def _suggested(disposition: str | None) -> str | None:
    """The file name of a Content-Disposition (RFC 6266)."""
    if disposition is None:
        return None
    message = Message()
    # A header arrives as Latin-1; what servers put into it is UTF-8.
    message["Content-Disposition"] = disposition.encode("latin-1", "replace").decode("utf-8", "replace")
    return message.get_filename()


def _safe(name: str | None) -> str | None:
    """The last part of a name, without what no file system should meet; None when nothing is left."""
    if name is None:
        return None
    last = _UNFIT.sub("", re.split(r"[/\\]", name)[-1]).strip(" .") if name.strip(" .") else ""
    cut = path_text(last.encode("utf-8", "surrogateescape")[:_LONGEST_NAME_BYTES])
    return cut or None
