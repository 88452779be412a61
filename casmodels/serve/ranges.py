"""Range and conditional requests (RFC 9110, sections 13 and 14), for one strong ETag and a known size."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*\Z", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The headers that decide what of a file is sent, None where they are missing."""

    wanted: str | None = None
    if_range: str | None = None
    if_none_match: str | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes ``start`` to ``stop`` of a file of ``size_bytes``; not ``partial`` when it is all of it."""

    start: int
    stop: int
    size_bytes: int
    partial: bool

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.stop - self.start

    @property
    def content_range(self) -> str:
        """The value of the Content-Range header of a 206."""
        return f"bytes {self.start}-{self.stop - 1}/{self.size_bytes}"


def read_range(conditions: Conditions, etag: str, size_bytes: int) -> Extent | None:
    """What a GET asks for; None when it lies past the end (416).

    Several ranges, another unit, nonsense, or an If-Range that is not this very ETag: the whole file.
    """
    whole = Extent(0, size_bytes, size_bytes, partial=False)
    match = _ONE_RANGE.match(conditions.wanted or "")
    if match is None or conditions.if_range not in (None, f'"{etag}"'):
        return whole
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
        if last and int(last) < start:
            return whole
    elif last:
        start, stop = max(size_bytes - int(last), 0), size_bytes
    else:
        return whole
    return Extent(start, stop, size_bytes, partial=True) if start < stop else None


def is_known(conditions: Conditions, etag: str) -> bool:
    """Whether If-None-Match names the ETag, so that 304 says it all."""
    tags = [tag.strip().removeprefix("W/") for tag in (conditions.if_none_match or "").split(",")]
    return "*" in tags or f'"{etag}"' in tags
