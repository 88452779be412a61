"""The journal: the append-only file that says which packs and refs count. FORMAT.md, "Journal", gives the bytes.

Each line is one transaction: ``<checksum> <json>``, the checksum being the BLAKE3 (16 bytes, hex) over the checksum of
the line before and the JSON. A transaction counts from the moment its line is synced; a torn last line never counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from blake3 import blake3

from casstore import files
from casstore.digests import Digest
from casstore.errors import NeedsRepairError, NewerFormatError, StoreError
from casstore.refs import RefKey, RefKind

_FORMAT = 1
_CHECKSUM_HEX = 32


@dataclass(frozen=True, slots=True)
class PackAdded:
    """A pack counts from now on."""

    id: bytes


@dataclass(frozen=True, slots=True)
class PackRemoved:
    """A pack counts no more; its file is unlinked after this."""

    id: bytes


@dataclass(frozen=True, slots=True)
class RefMoved:
    """A ref has a new target; None: it is gone. ``order`` is the ref's place among all refs ever made."""

    key: RefKey
    old: Digest | None
    new: Digest | None
    order: int


Operation: TypeAlias = PackAdded | PackRemoved | RefMoved


def outcome(operations: Iterable[Operation]) -> tuple[set[bytes], dict[RefKey, Digest]]:
    """The packs that count, and where refs point, after these operations from the beginning on."""
    packs: set[bytes] = set()
    refs: dict[RefKey, Digest] = {}
    for operation in operations:
        match operation:
            case PackAdded(pack_id):
                packs.add(pack_id)
            case PackRemoved(pack_id):
                packs.discard(pack_id)
            case RefMoved(key, _, new, _):
                if new is None:
                    refs.pop(key, None)
                else:
                    refs[key] = new
    return packs, refs


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two lines: of which generation of the file, the byte offset, and the line before."""

    generation: str
    offset: int
    sequence: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One transaction and the position right after it."""

    operations: tuple[Operation, ...]
    after: Position


class Journal:
    """Reads and appends; whoever appends holds the store's commit lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def size_bytes(self) -> int:
        """The file's size; 0 when it is not there."""
        with contextlib.suppress(FileNotFoundError):
            return self._path.stat().st_size
        return 0

    def rewrite(self, operations: Sequence[Operation], sequence: int, *, after: str = "") -> Position:
        """Replace the file by a new generation that holds just these operations as transaction ``sequence``.

        ``after`` is the checksum of the last line of the generation before, where this one says the same.
        """
        generation = uuid.uuid4().hex
        start = {"after": after, "format": _FORMAT, "generation": generation, "sequence": sequence}
        first = _line("", json.dumps(start, separators=(",", ":")))
        second = _line(first[:_CHECKSUM_HEX], _encode(sequence, operations))
        data = (first + second).encode("ascii")
        files.write_atomically(self._path, data)
        return Position(generation, len(data), sequence, second[:_CHECKSUM_HEX])

    def append(self, after: Position, operations: Sequence[Operation]) -> Position:
        """Add one transaction and make it durable. When that fails, what was written is cut off again."""
        sequence = after.sequence + 1
        line = _line(after.checksum, _encode(sequence, operations))
        with files.translated(self._path):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            files.write_all(descriptor, line.encode("ascii"), self._path)
            files.sync_file(descriptor, self._path)
        except BaseException:
            with contextlib.suppress(OSError, StoreError):
                files.truncate(descriptor, after.offset, self._path)
                files.sync_file(descriptor, self._path)
            raise
        finally:
            os.close(descriptor)
        return Position(after.generation, after.offset + len(line), sequence, line[:_CHECKSUM_HEX])

    def begins(self) -> Position:
        """The position after the first line. Raises NeedsRepairError when the file is missing or begins wrongly."""
        record, line = self._first_line()
        checksum = line[:_CHECKSUM_HEX].decode("ascii")
        return Position(record["generation"], len(line), record["sequence"] - 1, checksum)

    def continues(self, position: Position) -> bool:
        """Whether this generation was made from the one before when that ended at ``position``."""
        record, _ = self._first_line()
        return bool(record["after"] == position.checksum)

    def entries(self, after: Position) -> Iterator[Entry]:
        """The transactions past a position; a torn last line is left out.

        Raises NeedsRepairError when a line that is not the last is damaged.
        """
        with self._path.open("rb") as file:
            file.seek(after.offset)
            for line in file:
                record = _parse(after.checksum, line)
                if record is None:
                    if file.read(1):
                        raise NeedsRepairError(f"the journal {self._path} is damaged at byte {after.offset}")
                    return
                after = Position(
                    after.generation,
                    after.offset + len(line),
                    record["sequence"],
                    line[:_CHECKSUM_HEX].decode("ascii"),
                )
                yield Entry(_decode(record), after)

    def is_rotten(self, after: Position) -> bool:
        """Whether what follows the last good transaction is a whole line that has gone bad, not a torn one.

        What a power cut leaves of a line lacks its end or has zeros in it.
        """
        with self._path.open("rb") as file:
            file.seek(after.offset)
            tail = file.read()
        return tail.endswith(b"\n") and b"\0" not in tail

    def salvage(self) -> Iterator[Entry | None]:
        """All transactions of a damaged file: None in the place of each line that is wrong."""
        with self._path.open("rb") as file:
            checksum, offset, generation = "", 0, uuid.uuid4().hex
            for line in file:
                offset += len(line)
                record = _parse(checksum, line)
                checksum = line[:_CHECKSUM_HEX].decode("ascii", "replace")
                if record is None:
                    yield None
                elif "operations" in record:
                    yield Entry(_decode(record), Position(generation, offset, record["sequence"], checksum))

    def sync(self) -> None:
        """Let the file say after a power cut what it says now, also where a failed append was cut off."""
        with files.translated(self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            files.sync_file(descriptor, self._path)
        finally:
            os.close(descriptor)

    def cut(self, after: Position) -> None:
        """Cut off a torn tail."""
        with files.translated(self._path):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            files.truncate(descriptor, after.offset, self._path)
            files.sync_file(descriptor, self._path)
        finally:
            os.close(descriptor)

    def _first_line(self) -> tuple[dict[str, Any], bytes]:
        try:
            with files.translated(self._path), self._path.open("rb") as file:
                line = file.readline()
        except FileNotFoundError as error:
            raise NeedsRepairError(f"the journal {self._path} is missing") from error
        record = _parse("", line)
        if record is None or "generation" not in record:
            raise NeedsRepairError(f"the journal {self._path} begins with a damaged line")
        if record["format"] > _FORMAT:
            raise NewerFormatError(f"{self._path} was written by a newer release", remedy="upgrade casmodels")
        return record, line


def _line(before: str, text: str) -> str:
    return f"{_checksum(before, text)} {text}\n"


def _checksum(before: str, text: str) -> str:
    return blake3(before.encode("ascii", "replace") + text.encode("ascii")).hexdigest(length=_CHECKSUM_HEX // 2)


def _parse(before: str, line: bytes) -> dict[str, Any] | None:
    """A line's record; None when the line is torn or wrong."""
    try:
        text = line.decode("ascii")
        checksum, space, body = text[:_CHECKSUM_HEX], text[_CHECKSUM_HEX : _CHECKSUM_HEX + 1], text[_CHECKSUM_HEX + 1 :]
        if space != " " or not body.endswith("\n") or checksum != _checksum(before, body[:-1]):
            return None
        record = json.loads(body)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _encode(sequence: int, operations: Sequence[Operation]) -> str:
    listed: list[list[Any]] = []
    for operation in operations:
        match operation:
            case PackAdded(pack_id):
                listed.append(["pack+", pack_id.hex()])
            case PackRemoved(pack_id):
                listed.append(["pack-", pack_id.hex()])
            case RefMoved(key, old, new, order):
                ends = [str(end) if end is not None else None for end in (old, new)]
                listed.append(["ref", key.kind.value, key.name, key.label, *ends, order])
    return json.dumps({"operations": listed, "sequence": sequence}, separators=(",", ":"))


def _decode(record: dict[str, Any]) -> tuple[Operation, ...]:
    operations: list[Operation] = []
    for what, *fields in record["operations"]:
        if what == "pack+":
            operations.append(PackAdded(bytes.fromhex(fields[0])))
        elif what == "pack-":
            operations.append(PackRemoved(bytes.fromhex(fields[0])))
        else:
            kind, name, label, old, new, order = fields
            key = RefKey(RefKind(kind), name, label)
            old, new = (Digest.parse(end) if end is not None else None for end in (old, new))
            operations.append(RefMoved(key, old, new, order))
    return tuple(operations)
