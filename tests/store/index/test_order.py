"""The order in which frames lie on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casstore.frames import FrameHeader, FrameKind
from casstore.index import order
from casstore.index import reach as reach_module
from casstore.index.database import Database
from casstore.index.order import frames_in_packs, frames_to_verify
from casstore.index.reach import Reach
from casstore.index.rows import FrameRow, Rows, State
from casstore.packs import Placed, SealedPack

FRAMES = 20


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    """Three packs, whose frames have digests in no order."""
    database = Database(tmp_path / "index")
    rows = Rows(database)
    for number in (3, 1, 2):
        headers = [FrameHeader(FrameKind.CHUNK, _digest(number, place), 0, 9, 8) for place in range(FRAMES)]
        placed = tuple(Placed(header, 48 + 100 * place) for place, header in enumerate(headers))
        rows.add_pack(SealedPack(_pack(number), 5000, placed))
    yield rows
    database.close()


def _pack(number: int) -> bytes:
    return bytes([number]) * 16


def _digest(number: int, place: int) -> bytes:
    return bytes([place * 7 % FRAMES, number]) * 16


def _places(frames: Iterator[FrameRow]) -> list[tuple[int, int]]:
    return [(row.pack[0], (row.offset - 48) // 100) for row in frames]


def test_the_oldest_pack_comes_first_and_each_as_it_lies(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_BATCH", 7)
    with frames_in_packs(rows.database, [_pack(2), _pack(3), _pack(3), _pack(9)]) as frames:
        assert _places(frames) == [(number, place) for number in (3, 2) for place in range(FRAMES)]
    with frames_in_packs(rows.database, []) as frames:
        assert _places(frames) == []


def test_all_fields(rows: Rows) -> None:
    with frames_in_packs(rows.database, [_pack(1)]) as frames:
        for row in frames:
            assert row == rows.frame(row.kind, row.digest)


def test_what_cannot_be_read_is_left_out(rows: Rows) -> None:
    rows.set_state(FrameKind.CHUNK, [_digest(1, 0)], State.DAMAGED)
    with frames_in_packs(rows.database, [_pack(1)]) as frames:
        assert _places(frames) == [(1, place) for place in range(1, FRAMES)]


def test_packs_that_were_read_since_are_left_out(rows: Rows) -> None:
    rows.set_verified(_pack(1), 50)
    with frames_to_verify(rows.database, 50) as frames:
        assert {pack for pack, _ in _places(frames)} == {2, 3}
    with frames_to_verify(rows.database, 51) as frames:
        assert len(_places(frames)) == 3 * FRAMES


@pytest.mark.parametrize("unsorted", [1, 1 << 20])
def test_what_is_reached(rows: Rows, unsorted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach_module, "_UNSORTED", unsorted)
    monkeypatch.setattr(reach_module, "_BATCH", 3)
    monkeypatch.setattr(reach_module, "_RECENT", 0)
    with Reach(rows.database) as reach:
        for _ in range(2):
            reach.add((FrameKind.CHUNK, _digest(number, place)) for place in (5, 2) for number in (2, 3, 8))
        assert reach.stored_bytes() == 4 * rows.database.execute("SELECT length FROM frames LIMIT 1")[0][0]
        assert (FrameKind.CHUNK, _digest(2, 5)) in reach
        assert (FrameKind.CHUNK, _digest(1, 5)) not in reach
        with reach.frames() as frames:
            assert _places(frames) == [(3, 2), (3, 5), (2, 2), (2, 5)]


def test_nothing_is_left_behind_and_two_may_be_listed_at_once(rows: Rows) -> None:
    with frames_in_packs(rows.database, [_pack(1)]) as one, frames_in_packs(rows.database, [_pack(2)]) as two:
        assert {pack for (pack, _), _ in zip(_places(one), _places(two), strict=True)} == {1}
    assert rows.database.execute("SELECT name FROM temp.sqlite_master") == []
