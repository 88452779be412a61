"""Packs: immutable files of many frames. FORMAT.md, "Packs", gives the bytes.

A pack is written under a temporary name, synced, and renamed; from then on it never changes. Its id is random, so no
name ever comes again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from casstore import codecs, files
from casstore.errors import DamagedError
from casstore.frames import (
    CHECKSUM_BYTES,
    FRAME_MAGIC,
    HEADER_BYTES,
    Frame,
    FrameHeader,
    parse_fields,
    parse_frame,
)

_HEADER = struct.Struct("<8sHHI16sQ")
_HEADER_CHECKSUM_BYTES = 8
_HEADER_SIZE = _HEADER.size + _HEADER_CHECKSUM_BYTES
_FOOTER = struct.Struct("<8sII16sQ")
_MAGIC = b"CASPACK\n"
_END_MAGIC = b"CASPEND\n"
_VERSION = 1
_OFFSET = struct.Struct("<Q")
_SUFFIX = ".pack"
_TEMPORARY_SUFFIX = ".pack.tmp"
_OPEN_FILES = 64
_MAX_HINT_BYTES = 0xFFFF
_SEARCH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Placed:
    """A frame's header and the byte offset of the frame in its pack."""

    header: FrameHeader
    offset: int


@dataclass(frozen=True, slots=True)
class SealedPack:
    """A pack that is durable under its name: id, size in bytes, frames in order."""

    id: bytes
    size_bytes: int
    frames: tuple[Placed, ...]


def pack_path(directory: Path, pack_id: bytes) -> Path:
    """Where the pack of that id lies."""
    return directory / f"{pack_id.hex()}{_SUFFIX}"


def list_packs(directory: Path) -> list[bytes]:
    """The ids of all packs under their final names."""
    found = []
    for entry in os.scandir(directory):
        if entry.name.endswith(_SUFFIX) and len(entry.name) == 32 + len(_SUFFIX):
            with contextlib.suppress(ValueError):
                found.append(bytes.fromhex(entry.name[:32]))
    return found


def overhead_bytes(frames: int) -> int:
    """About what a pack of so many frames has beside them: header, trailer, footer."""
    return _HEADER_SIZE + frames * (_OFFSET.size + HEADER_BYTES) + _FOOTER.size


class PackWriter:
    """Appends frames to a new pack. Holds an flock on its temporary file, so that a dead writer's can be told."""

    def __init__(self, directory: Path, journal_sequence: int) -> None:
        self.size_bytes = 0
        self._frames: list[Placed] = []
        self._begin(directory)
        header = _HEADER.pack(_MAGIC, _VERSION, 0, 0, self.id, journal_sequence)
        try:
            self._write(header + blake3(header).digest(length=_HEADER_CHECKSUM_BYTES))
        except BaseException:
            self.abandon()
            raise

    @property
    def path(self) -> Path:
        """Where it is being written."""
        return self._path

    def append(self, frame: Frame) -> Placed:
        """Add one frame; gives where it lies."""
        placed = Placed(frame.header, self.size_bytes)
        files.write_parts(self._descriptor, (frame.front, frame.payload), self._path)
        self.size_bytes += frame.header.frame_length
        self._frames.append(placed)
        return placed

    def seal(self) -> SealedPack:
        """Write the trailer, make data and name durable, close."""
        table = b"".join(_OFFSET.pack(placed.offset) + placed.header.fields() for placed in self._frames)
        footer = _FOOTER.pack(_END_MAGIC, len(self._frames), 0, blake3(table).digest(length=16), len(table))
        try:
            self._write(table + footer)
            files.sync_file(self._descriptor, self._path)
            files.rename(self._path, self._final)
            files.sync_directory(self._final.parent)
        except BaseException:
            self.abandon()
            raise
        os.close(self._descriptor)
        return SealedPack(self.id, self.size_bytes, tuple(self._frames))

    def abandon(self) -> None:
        """Drop the pack; nothing of it was promised."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _begin(self, directory: Path) -> None:
        """Make the file and lock it."""
        while True:
            self.id = uuid.uuid4().bytes
            self._final = pack_path(directory, self.id)
            self._path = directory / f"{self.id.hex()}{_TEMPORARY_SUFFIX}"
            with files.translated(self._path):
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            # A gc may have found the file before it was locked, taken it for a dead writer's, and unlinked it.
            if files.is_still(self._path, self._descriptor):
                return
            os.close(self._descriptor)

    def _write(self, data: bytes) -> None:
        files.write_all(self._descriptor, data, self._path)
        self.size_bytes += len(data)


class PackReader:
    """Reads frames from the packs of one directory; keeps some files open. Safe for threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: OrderedDict[bytes, int] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, pack_id: bytes, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset``. Raises FileNotFoundError when the pack is gone, DamagedError when it ends."""
        with self._descriptor(pack_id) as descriptor:
            data = os.pread(descriptor, length, offset)
            while len(data) < length:
                more = os.pread(descriptor, length - len(data), offset + len(data))
                if not more:
                    raise DamagedError(f"pack {pack_id.hex()}", f"it ends before byte {offset + length}")
                data += more
        return data

    def foresee(self, pack_id: bytes, offset: int, length: int) -> None:
        """Have the kernel begin to read what will soon be asked for, where it can; what is wrong with it shows then."""
        with contextlib.suppress(OSError), self._descriptor(pack_id) as descriptor:
            _foresee(descriptor, offset, length)

    def close(self) -> None:
        """Close the files that are open."""
        with self._lock:
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()

    @contextlib.contextmanager
    def _descriptor(self, pack_id: bytes) -> Iterator[int]:
        """A private duplicate, so that another thread's closing never pulls the file from under a read."""
        with self._lock:
            kept = self._open.pop(pack_id, None)
            if kept is None:
                kept = os.open(pack_path(self._directory, pack_id), os.O_RDONLY | os.O_CLOEXEC)
            self._open[pack_id] = kept
            if len(self._open) > _OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
            descriptor = os.dup(kept)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def read_pack_sequence(path: Path) -> tuple[bytes, int]:
    """A pack's id and the journal's sequence number when it was begun; DamagedError when its header is wrong."""
    with path.open("rb") as file:
        data = file.read(_HEADER_SIZE)
    fields, checksum = data[: _HEADER.size], data[_HEADER.size :]
    if len(data) != _HEADER_SIZE or blake3(fields).digest(length=_HEADER_CHECKSUM_BYTES) != checksum:
        raise DamagedError(f"pack {path.stem}", "its header is wrong")
    magic, version, _, _, pack_id, sequence = _HEADER.unpack(fields)
    if magic != _MAGIC or version != _VERSION:
        raise DamagedError(f"pack {path.stem}", "it is not a pack of a known format")
    return pack_id, sequence


def read_frames(path: Path) -> tuple[Placed, ...]:
    """All frames of a sealed pack, from its trailer; from a scan of the frames where the trailer is damaged."""
    try:
        return _frames_of_trailer(path)
    except DamagedError:
        return tuple(scan_frames(path))


def _frames_of_trailer(path: Path) -> tuple[Placed, ...]:
    what = f"pack {path.stem}"
    with path.open("rb") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        if size_bytes < _HEADER_SIZE + _FOOTER.size:
            raise DamagedError(what, "it is too short")
        file.seek(size_bytes - _FOOTER.size)
        magic, count, _, checksum, table_length = _FOOTER.unpack(file.read(_FOOTER.size))
        if magic != _END_MAGIC or table_length > size_bytes - _HEADER_SIZE - _FOOTER.size:
            raise DamagedError(what, "its trailer is wrong")
        file.seek(size_bytes - _FOOTER.size - table_length)
        table = file.read(table_length)
    if blake3(table).digest(length=16) != checksum:
        raise DamagedError(what, "its trailer's checksum does not match")
    frames, position = [], 0
    while position + _OFFSET.size <= len(table):
        (offset,) = _OFFSET.unpack_from(table, position)
        header = parse_fields(table, position + _OFFSET.size)
        position += _OFFSET.size + len(header.fields())
        frames.append(Placed(header, offset))
    if len(frames) != count:
        raise DamagedError(what, "its trailer lists another number of frames than it says")
    if frames and not any(_lies_there(path, placed) for placed in frames):
        raise DamagedError(what, "its trailer is another pack's")
    return tuple(frames)


def read_header(path: Path, offset: int) -> FrameHeader:
    """The header of the frame that begins there, if one does. Raises DamagedError, and FileNotFoundError."""
    with path.open("rb") as file:
        return _header_at(file, offset)


def _lies_there(path: Path, placed: Placed) -> bool:
    """Whether a frame begins where the trailer says. One that is damaged may not, but in a pack of its own some do."""
    try:
        return read_header(path, placed.offset) == placed.header
    except DamagedError:
        return False


def _header_at(file: BinaryIO, offset: int) -> FrameHeader:
    file.seek(offset)
    return parse_fields(file.read(HEADER_BYTES + _MAX_HINT_BYTES), 0, checksum_bytes=CHECKSUM_BYTES)


def scan_frames(path: Path) -> Iterator[Placed]:
    """Walk a pack without its trailer, giving each frame that is whole; what is damaged is stepped over.

    A delta is believed by its checksum: its base may lie in another pack.
    """
    with path.open("rb") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        _foresee(file.fileno(), 0, size_bytes)  # so that the disk reads while frames are hashed
        offset: int | None = _HEADER_SIZE
        while offset is not None:
            header = _frame_at(file, offset, size_bytes)
            if header is not None:
                yield Placed(header, offset)
                offset += header.frame_length
            else:
                offset = _next_magic(file, offset + 1)


def _foresee(descriptor: int, offset: int, length: int) -> None:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_WILLNEED)


def _frame_at(file: BinaryIO, offset: int, size_bytes: int) -> FrameHeader | None:
    """The header of the good frame that lies there, if one does."""
    try:
        header = _header_at(file, offset)
        if offset + header.frame_length > size_bytes:
            return None
        file.seek(offset)
        header, payload = parse_frame(file.read(header.frame_length))
        if header.base:
            return header
        raw = codecs.decode(header.codec, payload, header.raw_length)
    except DamagedError:
        return None
    return header if blake3(raw).digest() == header.digest else None


def _next_magic(file: BinaryIO, offset: int) -> int | None:
    """Where what looks like a frame begins, at ``offset`` or after it."""
    while True:
        file.seek(offset)
        block = file.read(_SEARCH_BYTES)
        found = block.find(FRAME_MAGIC)
        if found >= 0:
            return offset + found
        if len(block) < _SEARCH_BYTES:
            return None
        offset += len(block) - len(FRAME_MAGIC) + 1


def remove_dead_writers_files(directory: Path, *, dry_run: bool = False) -> int:
    """Unlink temporary packs whose writer is dead; gives how many bytes that were."""
    freed = 0
    for path in directory.glob(f"*{_TEMPORARY_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            freed += os.fstat(file.fileno()).st_size
            if not dry_run:
                files.unlink(path)
    return freed
