"""A disk that loses power, with a file system on it.

The disk is a file on an XFS of its own, which lies in memory. The file system under test is mounted from that file, so
that what it flushes is synced there, and what it only writes stays in the page cache, as in the cache of a drive. When
the XFS is shut down without its log, that cache is gone: what was flushed is there, of the rest only what had been let
through before, here and there, in no order.

Besides, XFS and ext4 can be told to stop (``xfs_io -x -c shutdown``), with what is in their log flushed first or not:
then all that they had sent to the disk is there.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from tests.torture.groups.power.mounts import UnavailableError, call, mount, unmount

_MEBIBYTE: Final = 1 << 20
_WINDOW_BYTES: Final = 64 << 10
_SHARES_LET_THROUGH: Final = (0.0, 0.0, 0.3, 0.8)


class Cut(StrEnum):
    """How the power goes."""

    CACHE_LOST = "the disk's cache lost"
    LOG_LOST = "shut down, its log lost"
    LOG_FLUSHED = "shut down, its log flushed"


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A file system to test: the size of its disk, how it is made and mounted."""

    name: str
    size_bytes: int
    make: tuple[str, ...]
    options: str = "rw"
    has_shutdown: bool = True


XFS: Final = FileSystem("XFS", 300 * _MEBIBYTE, ("mkfs.xfs", "-q", "-f", "-K"))
EXT4: Final = FileSystem("ext4", 192 * _MEBIBYTE, ("mkfs.ext4", "-q", "-F", "-E", "nodiscard"))
BTRFS: Final = FileSystem("btrfs", 256 * _MEBIBYTE, ("mkfs.btrfs", "-q", "-f", "-K"), "nodiscard", has_shutdown=False)


class Disk:
    """Mounted at ``root``, until `cut`; again after `come_back`."""

    def __init__(self, directory: Path, file_system: FileSystem) -> None:
        self.root = directory / "root"
        self.file_system = file_system
        self._outer_image = directory / "outer.img"
        self._outer = directory / "outer"
        self._image = self._outer / "disk.img"
        self._outer_is_cut = False

    def make(self) -> None:
        """Make both file systems. Raises UnavailableError where that cannot be."""
        try:
            with self._outer_image.open("wb") as file:
                file.truncate(self.file_system.size_bytes + 160 * _MEBIBYTE)
            call("mkfs.xfs", "-q", "-f", self._outer_image)
            mount(self._outer_image, self._outer, "rw")
            # Whole, so that writes change no more than their own bytes.
            with self._image.open("wb") as file:
                for _ in range(self.file_system.size_bytes // _MEBIBYTE):
                    file.write(bytes(_MEBIBYTE))
                os.fsync(file.fileno())
            call(*self.file_system.make, self._image)
            self._mount()
        except (OSError, RuntimeError) as error:
            raise UnavailableError(f"no {self.file_system.name} can be mounted here: {error}") from error

    def sync(self) -> None:
        """Have all that was written reach the disk."""
        call("sync", "--file-system", self.root)

    def cuts(self) -> list[Cut]:
        """The ways in which it can be cut."""
        return list(Cut) if self.file_system.has_shutdown else [Cut.CACHE_LOST]

    def cut(self, how: Cut, chance: random.Random) -> None:
        """The power fails now."""
        if how is Cut.CACHE_LOST:
            share = chance.choice(_SHARES_LET_THROUGH)
            if share:
                self._let_through(share, chance)
            self._outer_is_cut = True
            _shut_down(self._outer, how)
        else:
            _shut_down(self.root, how)

    def come_back(self) -> None:
        """The power is back: mount it again. Nobody may have it in use."""
        unmount(self.root)
        if self._outer_is_cut:
            unmount(self._outer)
            mount(self._outer_image, self._outer, "rw")
            self._outer_is_cut = False
        self._mount()

    def close(self) -> None:
        """Unmount all, and forget the disk."""
        for directory in (self.root, self._outer):
            unmount(directory)
        self._outer_image.unlink(missing_ok=True)

    def _mount(self) -> None:
        mount(self._image, self.root, self.file_system.options)

    def _let_through(self, share: float, chance: random.Random) -> None:
        """Have the kernel write a part of the cache, chosen at random."""
        with self._image.open("rb") as file:
            for offset in range(0, self.file_system.size_bytes, _WINDOW_BYTES):
                if chance.random() < share:
                    os.posix_fadvise(file.fileno(), offset, _WINDOW_BYTES, os.POSIX_FADV_DONTNEED)


@contextmanager
def disk(directory: Path, file_system: FileSystem) -> Iterator[Disk]:
    """A new disk, unmounted afterwards whatever happens."""
    made = Disk(directory, file_system)
    try:
        made.make()
        yield made
    finally:
        made.close()


def _shut_down(directory: Path, how: Cut) -> None:
    flush = " -f" if how is Cut.LOG_FLUSHED else ""
    call("xfs_io", "-x", "-c", f"shutdown{flush}", directory)
