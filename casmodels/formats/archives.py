"""Zip archives as a means of laying files end to end: where each uncompressed member's bytes lie.

The central directory is read by `zipfile`; the offset of the data is in each member's local header (APPNOTE.TXT
4.3.7), which is checked against the directory.
"""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass
from typing import Final

from casmodels.formats.layout import DoubtError
from casstore.chunkers.spans import RandomAccess

MAX_DIRECTORY_BYTES: Final = 8 << 20
"""Of the central directory; some 80,000 members. It bounds memory at some 100 MB."""

_MAGIC: Final = b"PK\x03\x04"
_LOCAL_HEADER: Final = struct.Struct("<4s22x2H")
_ENCRYPTED: Final = 1
_NAME_IS_UTF8: Final = 0x800


@dataclass(frozen=True, slots=True)
class Member:
    """One stored file: its bytes are ``offset`` to ``offset + length`` of the archive."""

    offset: int
    length: int


class Archive:
    """The uncompressed members of a zip archive, by name; others are left out."""

    def __init__(self, source: RandomAccess) -> None:
        """Raises DoubtError, or what `zipfile` does, for what is no sound archive."""
        self._source = source
        with zipfile.ZipFile(_Window(source)) as directory:
            entries = directory.infolist()
            self._data_end = directory.start_dir
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) != len(entries):
            raise DoubtError("two members of one name")

    def names(self) -> list[str]:
        """The members' names, in the directory's order."""
        return list(self._entries)

    def member(self, name: str) -> Member | None:
        """Where a member lies, or None if there is none of that name or it is compressed.

        Raises DoubtError or struct.error where its own header contradicts the directory.
        """
        entry = self._entries.get(name)
        if entry is None or entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
            return None
        if not 0 <= entry.header_offset < self._data_end:
            raise DoubtError("a member that begins outside the file")
        named = entry.orig_filename.encode("utf-8" if entry.flag_bits & _NAME_IS_UTF8 else "cp437")
        header = self._source.read_at(entry.header_offset, _LOCAL_HEADER.size + len(named))
        magic, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(header)
        if magic != _MAGIC or name_bytes != len(named) or not header.endswith(named):
            raise DoubtError("a member whose own header says something else than the directory")
        offset = entry.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
        if entry.compress_size != entry.file_size or offset + entry.file_size > self._data_end:
            raise DoubtError("a member that runs into the directory")
        return Member(offset, entry.file_size)

    def read(self, member: Member, limit_bytes: int) -> bytes:
        """A member's bytes; raises DoubtError when there are more than the limit."""
        if member.length > limit_bytes:
            raise DoubtError("a member too long to be read")
        return self._source.read_at(member.offset, member.length)


class Part:
    """A member, as a file of its own."""

    def __init__(self, source: RandomAccess, member: Member) -> None:
        self._source = source
        self._member = member

    @property
    def size_bytes(self) -> int:
        """The member's length."""
        return self._member.length

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes of the member; fewer only at its end."""
        left = max(0, self._member.length - offset)
        return self._source.read_at(self._member.offset + offset, min(length, left))


class _Window:
    """As much of a file object as `zipfile` needs to find the directory; never more than the cap."""

    def __init__(self, source: RandomAccess) -> None:
        self._source = source
        self._position = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size_bytes}[whence]
        if start + offset < 0:
            raise OSError("a place before the file's beginning")
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._source.size_bytes - self._position)
        wanted = left if size < 0 else min(size, left)
        if wanted > MAX_DIRECTORY_BYTES:
            raise DoubtError("a directory too long to be read")
        data = self._source.read_at(self._position, wanted)
        self._position += len(data)
        return data
