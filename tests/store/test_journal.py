"""The journal: torn at any byte it loses the last transaction at most; damaged elsewhere it says so."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from casstore.digests import blake3_digest
from casstore.errors import DiskError, FullError, NeedsRepairError, NewerFormatError
from casstore.journal import Entry, Journal, PackAdded, PackRemoved, Position, RefMoved, _line
from casstore.refs import RefKey, RefKind
from casstore.testing.faults import Failing, hooked

KEY = RefKey(RefKind.TAG, "org/näme", "v\u20281")
TRANSACTIONS = [
    [PackAdded(bytes(16))],
    [PackAdded(b"\x01" * 16), RefMoved(KEY, None, blake3_digest(b"a"), 1)],
    [RefMoved(KEY, blake3_digest(b"a"), None, 1), PackRemoved(bytes(16))],
]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def filled(journal: Journal) -> list[Position]:
    """The positions after each transaction, the first being the empty one that a new journal begins with."""
    positions = [journal.rewrite((), 0)]
    for operations in TRANSACTIONS:
        positions.append(journal.append(positions[-1], operations))
    return positions


def read(journal: Journal) -> list[Entry]:
    return list(journal.entries(journal.begins()))


def test_transactions_come_back(journal: Journal) -> None:
    positions = filled(journal)
    entries = read(journal)
    assert [list(entry.operations) for entry in entries] == [[], *TRANSACTIONS]
    assert [entry.after for entry in entries] == positions
    assert [position.sequence for position in positions] == [0, 1, 2, 3]
    assert journal.size_bytes == positions[-1].offset
    for number, position in enumerate(positions):
        assert list(journal.entries(position)) == entries[number + 1 :]


def test_torn_at_every_byte(journal: Journal, tmp_path: Path) -> None:
    positions = filled(journal)
    good = (tmp_path / "journal").read_bytes()
    for length in range(positions[0].offset, len(good)):
        for rest in (b"", bytes(7), bytes(len(good) - length)):
            (tmp_path / "journal").write_bytes(good[:length] + rest)
            whole = [position for position in positions if position.offset <= length]
            entries = read(journal)
            assert entries[-1].after == whole[-1]
            if length + len(rest) > whole[-1].offset:
                assert not journal.is_rotten(whole[-1])
                journal.cut(whole[-1])
            again = journal.append(whole[-1], [PackAdded(b"\x07" * 16)])
            assert read(journal)[-1] == Entry((PackAdded(b"\x07" * 16),), again)


def test_every_flipped_bit_is_found(journal: Journal, tmp_path: Path) -> None:
    positions = filled(journal)
    good = (tmp_path / "journal").read_bytes()
    starts = [0, journal.begins().offset, *(position.offset for position in positions)]
    for place in range(len(good)):
        data = bytearray(good)
        data[place] ^= 1
        (tmp_path / "journal").write_bytes(data)
        if place >= starts[-2]:
            assert read(journal)[-1].after == positions[-2]
            assert place == len(good) - 1 or journal.is_rotten(positions[-2])
        elif place == starts[-2] - 1:  # two lines have become one
            assert read(journal)[-1].after == positions[-3]
            assert journal.is_rotten(positions[-3])
        else:
            with pytest.raises(NeedsRepairError):
                read(journal)


def test_lines_may_be_neither_left_out_nor_swapped(journal: Journal, tmp_path: Path) -> None:
    filled(journal)
    lines = (tmp_path / "journal").read_bytes().splitlines(keepends=True)
    for others in (lines[:2] + lines[3:], [*lines[:2], lines[3], lines[2], lines[4]], [*lines, lines[2], lines[3]]):
        (tmp_path / "journal").write_bytes(b"".join(others))
        with pytest.raises(NeedsRepairError):
            read(journal)


@pytest.mark.parametrize("data", [b"", b"\n", b"x", bytes(500), b"0" * 32 + b" {}\n", _line("", "{}").encode()])
def test_a_file_that_does_not_begin_as_a_journal(journal: Journal, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "journal").write_bytes(data)
    with pytest.raises(NeedsRepairError):
        journal.begins()


def test_a_missing_file(journal: Journal) -> None:
    assert journal.size_bytes == 0
    with pytest.raises(NeedsRepairError, match="missing"):
        journal.begins()


def test_a_newer_format(journal: Journal, tmp_path: Path) -> None:
    text = '{"after":"","format":2,"generation":"x","sequence":0}'
    (tmp_path / "journal").write_text(_line("", text))
    with pytest.raises(NewerFormatError):
        journal.begins()


@pytest.mark.parametrize("operation", ["write", "fsync"])
def test_an_append_that_fails_leaves_nothing(journal: Journal, operation: str) -> None:
    position = filled(journal)[-1]
    with hooked(Failing(errno.ENOSPC, operation, times=1)), pytest.raises(FullError):
        journal.append(position, TRANSACTIONS[0])
    assert journal.size_bytes == position.offset
    assert journal.append(position, TRANSACTIONS[0]).sequence == position.sequence + 1
    assert len(read(journal)) == 5


def test_an_append_that_can_neither_be_synced_nor_cut_off_stands(journal: Journal) -> None:
    """The change is then reported as failed, and whoever comes next finds it in the journal, durable after all."""
    position = filled(journal)[-1]
    with hooked(_Both("fsync", "truncate")), pytest.raises(DiskError):
        journal.append(position, TRANSACTIONS[0])
    assert [list(entry.operations) for entry in journal.entries(position)] == [TRANSACTIONS[0]]


class _Both:
    def __init__(self, *operations: str) -> None:
        self._operations = operations

    def __call__(self, operation: str, path: str) -> None:
        if operation in self._operations:
            raise OSError(errno.EIO, "I/O error", path)


def test_a_new_generation_goes_on_from_the_old_one(journal: Journal) -> None:
    old = filled(journal)
    new = journal.rewrite([PackAdded(b"\x01" * 16)], old[-1].sequence, after=old[-1].checksum)
    assert new.generation != old[-1].generation
    assert journal.begins().generation == new.generation
    assert journal.continues(old[-1])
    assert not journal.continues(old[-2])
    (entry,) = read(journal)
    assert entry == Entry((PackAdded(b"\x01" * 16),), new)
    assert new.sequence == old[-1].sequence


@pytest.mark.parametrize("operation", ["create", "write", "fsync", "rename"])
def test_a_new_generation_that_fails_leaves_the_old_one(journal: Journal, operation: str) -> None:
    position = filled(journal)[-1]
    with hooked(Failing(errno.ENOSPC, operation)), pytest.raises(FullError):
        journal.rewrite([], 9)
    assert read(journal)[-1].after == position


def test_salvage_reads_what_is_right_around_the_damage(journal: Journal, tmp_path: Path) -> None:
    filled(journal)
    good = (tmp_path / "journal").read_bytes()
    lines = good.splitlines(keepends=True)
    assert [entry and list(entry.operations) for entry in journal.salvage()] == [[], *TRANSACTIONS]
    for number, line in enumerate(lines):
        before = b"".join(lines[:number])
        damaged = before + line[:40] + bytes([line[40] ^ 1]) + line[41:] + b"".join(lines[number + 1 :])
        (tmp_path / "journal").write_bytes(damaged)
        expected: list[list[object] | None] = [[], *TRANSACTIONS]  # type: ignore[list-item]
        if number == 0:
            expected.insert(0, None)
        else:
            expected[number - 1] = None
        assert [entry and list(entry.operations) for entry in journal.salvage()] == expected
