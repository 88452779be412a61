"""Decoded copies of blobs that lie about in views and checkouts, to be reflinked or hard-linked instead of decoding."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from casmodels.views.contents import is_known, read_digest
from casstore.digests import Digest
from casstore.index.places import FileState, Place, PlaceKind, Places


@dataclass(frozen=True, slots=True)
class Copy:
    """A file that was noted in a place to hold a blob."""

    path: Path
    state: FileState
    place: Place


class Copies:
    """Finds decoded copies by what the places say; nothing is looked up before the first is asked for."""

    def __init__(self, places: Places) -> None:
        self._places = places

    @cached_property
    def _by_blob(self) -> dict[Digest | None, list[Copy]]:
        found: dict[Digest | None, list[Copy]] = {}
        for place in self._places.all():
            for copy in _copies_of(place):
                found.setdefault(copy.state.blob, []).append(copy)
        return found

    def are_noted(self, blob: Digest | None) -> bool:
        """Whether some place is said to hold the blob."""
        return blob in self._by_blob

    @contextlib.contextmanager
    def open(self, blob: Digest, device: int, *, views_only: bool = False) -> Iterator[tuple[Copy, int] | None]:
        """A copy on that device that surely holds the blob, and its descriptor; None when there is no such copy.

        One that is not as it was noted is passed over, unless only hard links speak against it: then it is read.
        """
        for copy in self._by_blob.get(blob, ()):
            if views_only and copy.place.kind is not PlaceKind.VIEW:
                continue
            descriptor = _open(copy.path)
            if descriptor is None:
                continue
            try:
                status = os.fstat(descriptor)
                if status.st_dev == device and _holds(copy, status):
                    yield copy, descriptor
                    return
            finally:
                os.close(descriptor)
        yield None


def _copies_of(place: Place) -> Iterator[Copy]:
    directory = Path(place.path)
    for path, state in place.files.items():
        # A checkpoint of a single file is a place without a directory.
        yield Copy(directory / path if path else directory, state, place)


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None


def _holds(copy: Copy, status: os.stat_result) -> bool:
    if is_known(copy.state, status, copy.place):
        return True
    return copy.state.matches(status, copy.place.saved_ns) and read_digest(copy.path) == copy.state.blob
