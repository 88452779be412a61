"""From a blob to a file: whole under its name, or not there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Final

from casmodels.progress import Progress, Task
from casmodels.views.clones import can_clone, clone, hard_link, temporary_in
from casmodels.views.contents import BACKDATED_NS
from casmodels.views.copies import Copies
from casmodels.views.targets import make_parents
from casstore import files
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.errors import DamagedError, FailedError, StoreError
from casstore.index.places import FileState

WORKERS: Final = 4
"""Files written at once: while one waits for the disk, others are decoded."""
_READ_ONLY: Final = 0o444


class LinkMode(StrEnum):
    """How a file comes about when a decoded copy of its blob lies on the same file system.

    AUTO and REFLINK share the copy's extents where the file system can, else decode. HARDLINK, asked for only, gives
    a view's copy another name (mode 0444), else does as REFLINK. COPY always decodes.
    """

    AUTO = "auto"
    REFLINK = "reflink"
    HARDLINK = "hardlink"
    COPY = "copy"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to be: its path below the root, blob, size and permissions; ``label`` is what people are told of it."""

    path: str
    blob: Digest
    size_bytes: int
    mode: int
    label: str


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written: its state, and how it came about (COPY, REFLINK or HARDLINK)."""

    wanted: Wanted
    state: FileState
    how: LinkMode


class Materialiser:
    """Writes blobs to files below ``root``.

    Temporary files lie in ``staging`` while that is on the file's own file system: what a kill leaves lies in one
    known directory. A file's data is on the disk before it gets its name, so that not even a power cut leaves a torn
    file under one. All get one time, shortly before ``started_ns`` (see `contents.BACKDATED_NS`).
    """

    def __init__(
        self,
        reader: Reader,
        root: Path,
        staging: Path,
        copies: Copies,
        *,
        link: LinkMode,
        started_ns: int,
        progress: Progress,
    ) -> None:
        self._reader = reader
        self._root = root
        self._staging = staging
        self._copies = copies
        self._progress = progress
        self._mtime_ns = started_ns - BACKDATED_NS
        self._stopped = threading.Event()
        self._twins: dict[Digest, Written] = {}
        self._hard_links = link is LinkMode.HARDLINK
        self._copies_only = link is LinkMode.COPY

    @cached_property
    def makes_reflinks(self) -> bool:
        """Whether a second copy of a file costs no space here."""
        return not self._copies_only and can_clone(self._staging)

    def write_all(self, wanted: Iterable[Wanted], written: list[Written]) -> None:
        """Write files, several at a time; each is added to ``written`` when it has its name.

        What several of them hold is decoded once. The first error, or Ctrl-C, stops the others and is raised; no
        temporary file is left.
        """
        firsts: dict[Digest, Wanted] = {}
        twins = [one for one in wanted if firsts.setdefault(one.blob, one) is not one]
        self._write_some(firsts.values(), written)
        self._twins = {one.wanted.blob: one for one in written}
        self._write_some(twins, written)

    def _write_some(self, wanted: Iterable[Wanted], written: list[Written]) -> None:
        with ThreadPoolExecutor(WORKERS, "casmodels-write") as pool:
            running = [pool.submit(self._write, one, written) for one in wanted]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
                for future in running:
                    if future.done():
                        future.result()
            except BaseException:
                self._stopped.set()
                for future in running:
                    future.cancel()
                raise

    def _write(self, wanted: Wanted, done: list[Written]) -> None:
        make_parents(self._root, wanted.path)
        target = self._root / wanted.path
        temporary = temporary_in(self._staging_of(target.parent))
        task = self._progress.start(wanted.label, wanted.size_bytes)
        try:
            written = (
                self._linked(wanted, temporary) or self._cloned(wanted, temporary) or self._copied(wanted, temporary)
            )
            if written is None:
                written = self._decoded(wanted, temporary, task)
            else:
                task.advance(wanted.size_bytes)
            files.rename(temporary, target)
            if written.how is LinkMode.HARDLINK:
                # A rename to another name of the same inode does nothing, and leaves both names.
                files.unlink(temporary)
            done.append(written)
        except BaseException:
            with contextlib.suppress(OSError, StoreError):
                temporary.unlink(missing_ok=True)
            raise
        finally:
            task.done()

    def _staging_of(self, parent: Path) -> Path:
        return self._staging if parent.stat().st_dev == self._staging.stat().st_dev else parent

    def _linked(self, wanted: Wanted, temporary: Path) -> Written | None:
        """A hard link to a view's copy, if asked for and possible."""
        if not self._hard_links:
            return None
        device = temporary.parent.stat().st_dev
        with self._copies.open(wanted.blob, device, views_only=True) as found:
            if found is None:
                return None
            copy, source = found
            os.fchmod(source, _READ_ONLY)
            if not hard_link(copy.path, temporary):
                return None
            status = temporary.lstat()
            if status.st_ino != os.fstat(source).st_ino:
                temporary.unlink()
                return None
        return Written(wanted, FileState.of(status, wanted.blob), LinkMode.HARDLINK)

    def _cloned(self, wanted: Wanted, temporary: Path) -> Written | None:
        """A reflink of any copy, if there is one and the file system can."""
        if not self._copies.are_noted(wanted.blob) or not self.makes_reflinks:
            return None
        with self._copies.open(wanted.blob, temporary.parent.stat().st_dev) as found:
            if found is None:
                return None
            descriptor = clone(found[1], temporary)
            if descriptor is None:
                return None
            try:
                state = self._finish(descriptor, wanted, temporary)
            finally:
                os.close(descriptor)
            unchanged = found[0].state.mtime_ns == os.fstat(found[1]).st_mtime_ns
        if not unchanged or state.size_bytes != wanted.size_bytes:
            temporary.unlink()
            return None
        return Written(wanted, state, LinkMode.REFLINK)

    def _copied(self, wanted: Wanted, temporary: Path) -> Written | None:
        """A copy of the file with the same content that this run has just written, if nobody has touched it since."""
        twin = self._twins.get(wanted.blob)
        # A tree that nobody checked may give one blob two sizes.
        if twin is None or twin.wanted.size_bytes != wanted.size_bytes:
            return None
        try:
            source = os.open(self._root / twin.wanted.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            descriptor = _create(temporary)
            try:
                files.copy_all(source, descriptor, wanted.size_bytes, temporary)
                state = self._finish(descriptor, wanted, temporary)
            finally:
                os.close(descriptor)
            is_whole = FileState.of(os.fstat(source), wanted.blob) == twin.state
        finally:
            os.close(source)
        if not is_whole or state.size_bytes != wanted.size_bytes:
            temporary.unlink()
            return None
        return Written(wanted, state, LinkMode.COPY)

    def _decoded(self, wanted: Wanted, temporary: Path, task: Task) -> Written:
        """The bytes from the store, checked as a whole while they are written.

        Their chunks' digests would check the same bytes again, and are looked at only to say which chunk is wrong.
        """
        descriptor = _create(temporary)
        try:
            hasher = hashlib.sha256()
            size_bytes = 0
            blob = self._reader.open_blob(wanted.blob)
            for piece in blob.stream(check=False):
                if self._stopped.is_set():
                    raise FailedError(f"writing {wanted.label} was stopped")
                files.write_all(descriptor, piece, temporary)
                hasher.update(piece)
                size_bytes += len(piece)
                task.advance(len(piece))
            if size_bytes != wanted.size_bytes or hasher.digest() != wanted.blob.value:
                blob.check()
                raise DamagedError(f"blob {wanted.blob.hex}", "its decoded bytes are not those of the file")
            state = self._finish(descriptor, wanted, temporary)
        except DamagedError as error:
            raise DamagedError(wanted.label, f"{error.what}: {error.reason}") from error
        finally:
            os.close(descriptor)
        return Written(wanted, state, LinkMode.COPY)

    def _finish(self, descriptor: int, wanted: Wanted, temporary: Path) -> FileState:
        """Permissions, time, and the data to the disk; gives the file's state."""
        with files.translated(temporary):
            mode = wanted.mode & ~0o222 if self._hard_links else wanted.mode
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            target = descriptor if os.utime in os.supports_fd else temporary
            os.utime(target, ns=(time.time_ns(), self._mtime_ns))
        files.sync_file(descriptor, temporary)
        return FileState.of(os.fstat(descriptor), wanted.blob)


def _create(temporary: Path) -> int:
    with files.translated(temporary):
        files.announce("create", temporary)
        return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
