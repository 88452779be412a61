"""Rows: what a look-up shows of live, condemned, damaged and incomplete frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casstore.digests import Digest, git_blob_digest, sha256_digest
from casstore.frames import FrameHeader, FrameKind, recipe_hint
from casstore.index.database import Database
from casstore.index.filling import filling
from casstore.index.order import frames_in_packs
from casstore.index.reach import Reach
from casstore.index.rows import BlobInfo, Rows, State
from casstore.packs import Placed, SealedPack
from casstore.recipes import Part, Recipe

CHUNK, RECIPE, TREE, VERSION = FrameKind
BLOB = sha256_digest(b"blob")


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    database = Database(tmp_path / "index")
    yield Rows(database)
    database.close()


def header(kind: FrameKind, number: int, base: int | None = None) -> FrameHeader:
    return FrameHeader(kind, bytes([number]) * 32, 0, 10, 10, bytes([base]) * 32 if base is not None else b"")


def recipe_header(recipe: Recipe) -> FrameHeader:
    return FrameHeader(RECIPE, recipe.digest.value, 0, 10, 10, hint=recipe_hint(recipe))


def pack(number: int, *headers: FrameHeader) -> SealedPack:
    placed, offset = [], 48
    for one in headers:
        placed.append(Placed(one, offset))
        offset += one.frame_length
    return SealedPack(bytes([number]) * 16, offset, tuple(placed))


def where(rows: Rows, kind: FrameKind, number: int) -> int | None:
    row = rows.frame(kind, bytes([number]) * 32)
    return row.pack[0] if row is not None else None


def condemn(rows: Rows, *kept: tuple[FrameKind, bytes]) -> None:
    with Reach(rows.database) as reach:
        reach.add(kept)
        reach.condemn_the_rest()


def test_a_frame_that_is_live_stays_where_it_is(rows: Rows) -> None:
    rows.add_pack(pack(1, header(CHUNK, 1), header(CHUNK, 2)))
    rows.add_pack(pack(2, header(CHUNK, 2), header(CHUNK, 3)))
    assert [where(rows, CHUNK, number) for number in (1, 2, 3, 4)] == [1, 1, 2, None]
    assert where(rows, TREE, 1) is None
    assert rows.pack_ids_in_order() == [bytes([1]) * 16, bytes([2]) * 16]


def test_in_a_rebuild_the_newest_copy_wins(rows: Rows) -> None:
    schema = rows.database.execute("SELECT name, sql FROM sqlite_master ORDER BY name")
    with filling(rows) as add:
        add(pack(1, header(CHUNK, 1), header(CHUNK, 2), header(TREE, 1)))
        add(pack(2, header(CHUNK, 1), header(CHUNK, 3, base=1)))
        add(pack(3, recipe_header(PLAIN)))
    assert [where(rows, CHUNK, number) for number in (1, 2, 3)] == [2, 1, 2]
    assert where(rows, TREE, 1) == 1
    assert rows.is_live(CHUNK, bytes([3]) * 32)
    assert recipe_of(rows) == PLAIN.digest
    assert rows.pack_ids_in_order() == [bytes([number]) * 16 for number in (1, 2, 3)]
    assert rows.database.execute("SELECT name, sql FROM sqlite_master ORDER BY name") == schema


@pytest.mark.parametrize("state", [State.DAMAGED, State.INCOMPLETE])
def test_a_frame_that_is_not_live_moves_to_where_it_is_stored_again(rows: Rows, state: State) -> None:
    rows.add_pack(pack(1, header(CHUNK, 1)))
    rows.set_state(CHUNK, [bytes([1]) * 32], state)
    rows.add_pack(pack(2, header(CHUNK, 1)))
    assert where(rows, CHUNK, 1) == 2
    assert rows.is_live(CHUNK, bytes([1]) * 32)


def test_what_each_state_shows(rows: Rows) -> None:
    rows.add_pack(pack(1, *(header(CHUNK, number) for number in range(6))))
    rows.set_state(CHUNK, [bytes([2]) * 32, bytes([3]) * 32], State.DAMAGED)
    rows.set_state(CHUNK, [bytes([4]) * 32, bytes([5]) * 32], State.INCOMPLETE)
    condemn(rows, *((CHUNK, bytes([number]) * 32) for number in (0, 2, 4)))
    numbers = range(6)
    assert [where(rows, CHUNK, number) for number in numbers] == [1, 1, None, None, 1, 1]
    assert [rows.is_live(CHUNK, bytes([number]) * 32) for number in numbers] == [True] + [False] * 5
    assert [rows.is_damaged(CHUNK, bytes([number]) * 32) for number in numbers] == [False, False, True, True] + [
        False
    ] * 2
    with frames_in_packs(rows.database, [bytes([1]) * 16]) as frames:
        assert [row.digest[0] for row in frames] == [0, 1, 4, 5]
    assert [digest[0] for digest in rows.readable(CHUNK)] == [0, 1, 4, 5]
    assert [digest[0] for digest in rows.with_prefix(CHUNK, bytes(32), b"\xff" * 32)] == [0, 4]


def test_what_is_let_go_is_what_it_was(rows: Rows) -> None:
    rows.add_pack(pack(1, *(header(CHUNK, number) for number in range(3))))
    rows.set_state(CHUNK, [bytes([1]) * 32], State.DAMAGED)
    rows.set_state(CHUNK, [bytes([2]) * 32], State.INCOMPLETE)
    condemn(rows)
    condemn(rows)
    assert rows.any_condemned()
    rows.acquit([(CHUNK, bytes([number]) * 32) for number in (0, 1, 7)])
    assert rows.is_live(CHUNK, bytes(32))
    assert rows.is_damaged(CHUNK, bytes([1]) * 32)
    assert where(rows, CHUNK, 1) is None
    rows.acquit_all()
    assert where(rows, CHUNK, 2) == 1
    assert not rows.is_live(CHUNK, bytes([2]) * 32)
    assert not rows.any_condemned()


def test_marking_does_not_free_what_is_condemned(rows: Rows) -> None:
    rows.add_pack(pack(1, header(CHUNK, 1)))
    condemn(rows)
    rows.set_state(CHUNK, [bytes([1]) * 32], State.DAMAGED)
    assert rows.drop_condemned() == 1
    assert rows.empty_packs() == [(bytes([1]) * 16, pack(1, header(CHUNK, 1)).size_bytes)]


def test_whether_anything_is_condemned_is_asked_of_an_index(rows: Rows) -> None:
    plan = rows.database.execute("EXPLAIN QUERY PLAN SELECT 1 FROM frames WHERE state != 0 AND state >= 4 LIMIT 1")
    assert "frames_not_live" in str(plan)


def test_lost_frames_are_known_to_be_lost_and_can_be_stored_again(rows: Rows) -> None:
    rows.add_pack(pack(1, header(TREE, 1)))
    rows.mark_lost([(TREE, bytes([1]) * 32), (TREE, bytes([2]) * 32)])
    assert where(rows, TREE, 1) == 1
    assert where(rows, TREE, 2) is None
    assert rows.is_damaged(TREE, bytes([2]) * 32)
    rows.add_pack(pack(2, header(TREE, 2)))
    assert where(rows, TREE, 2) == 2


def test_removing_a_pack_says_how_much_was_in_it(rows: Rows) -> None:
    rows.add_pack(pack(1, header(CHUNK, 1), header(CHUNK, 2)))
    rows.add_pack(pack(2, header(CHUNK, 3)))
    rows.mark_lost([(TREE, bytes([4]) * 32)])
    assert rows.remove_packs([bytes([1]) * 16]) == 2
    assert rows.remove_packs([bytes([1]) * 16]) == 0
    assert rows.remove_packs([]) == 0
    assert where(rows, CHUNK, 1) is None
    assert where(rows, CHUNK, 3) == 2
    assert rows.is_damaged(TREE, bytes([4]) * 32)
    assert rows.pack_ids() == {bytes([2]) * 16}


PLAIN = Recipe(BLOB, 4, (Part(bytes([1]) * 32, 0, 4),))
CUT_OTHERWISE = Recipe(BLOB, 4, (Part(bytes([2]) * 32, 0, 2), Part(bytes([3]) * 32, 0, 2)))
WITH_GIT = Recipe(BLOB, 4, PLAIN.parts, git_blob_digest(b"blob"))


def recipe_of(rows: Rows) -> Digest | None:
    found = rows.blob(BLOB)
    return found.recipe if found is not None else None


def test_a_blob_by_both_its_names(rows: Rows) -> None:
    rows.add_pack(pack(1, recipe_header(WITH_GIT)))
    info = BlobInfo(BLOB, 4, WITH_GIT.digest, WITH_GIT.git)
    assert rows.blob(BLOB) == info
    assert WITH_GIT.git is not None
    assert rows.blob(WITH_GIT.git) == info
    assert rows.blob(sha256_digest(b"other")) is None


def test_a_blob_keeps_its_recipe_while_it_is_whole_and_gains_a_git_id(rows: Rows) -> None:
    rows.add_pack(pack(1, recipe_header(PLAIN)))
    rows.add_pack(pack(2, recipe_header(CUT_OTHERWISE)))
    assert recipe_of(rows) == PLAIN.digest
    rows.add_pack(pack(3, recipe_header(WITH_GIT)))
    assert recipe_of(rows) == WITH_GIT.digest
    other = Recipe(BLOB, 4, CUT_OTHERWISE.parts, WITH_GIT.git)
    rows.add_pack(pack(4, recipe_header(other)))
    assert recipe_of(rows) == WITH_GIT.digest


@pytest.mark.parametrize("state", [State.DAMAGED, State.INCOMPLETE])
def test_a_blob_whose_recipe_is_not_whole_is_not_had_until_it_is_stored_again(rows: Rows, state: State) -> None:
    rows.add_pack(pack(1, recipe_header(PLAIN)))
    rows.set_state(RECIPE, [PLAIN.digest.value], state)
    assert rows.blob(BLOB) is None
    assert rows.recipe_of(BLOB) == (PLAIN.digest if state is State.INCOMPLETE else None)
    rows.add_pack(pack(2, recipe_header(CUT_OTHERWISE)))
    assert recipe_of(rows) == CUT_OTHERWISE.digest


def test_a_blob_can_be_given_a_recipe_that_is_whole(rows: Rows) -> None:
    rows.add_pack(pack(1, recipe_header(PLAIN), recipe_header(CUT_OTHERWISE)))
    whole = BlobInfo(BLOB, 4, CUT_OTHERWISE.digest)
    rows.map_blobs([whole])
    assert recipe_of(rows) == PLAIN.digest
    rows.set_state(RECIPE, [PLAIN.digest.value], State.INCOMPLETE)
    rows.map_blobs([whole])
    assert rows.blob(BLOB) == whole


def test_condemned_blobs_are_not_had_but_can_be_read(rows: Rows) -> None:
    rows.add_pack(pack(1, recipe_header(PLAIN), header(CHUNK, 1)))
    condemn(rows)
    assert rows.blob(BLOB) is None
    assert rows.recipe_of(BLOB) == PLAIN.digest
    assert rows.drop_condemned() == 1
    assert rows.recipe_of(BLOB) is None


def test_totals_count_what_is_live(rows: Rows) -> None:
    rows.add_pack(pack(1, header(CHUNK, 1), header(CHUNK, 2), header(TREE, 3)))
    length = header(CHUNK, 1).frame_length
    assert rows.totals() == (2, 20, 2 * length)
    assert rows.by_codec() == [(0, 2, 20, 2 * length)]
    rows.set_state(CHUNK, [bytes([1]) * 32], State.DAMAGED)
    assert rows.totals() == (1, 10, length)
    assert rows.packs_bytes() == 48 + 3 * length


def test_two_walks_in_one_process_do_not_mix(rows: Rows) -> None:
    rows.add_pack(pack(1, header(CHUNK, 1)))
    rows.add_pack(pack(2, header(CHUNK, 2)))
    with Reach(rows.database) as one:
        one.add([(CHUNK, bytes([1]) * 32)])
        with Reach(rows.database) as other:
            other.add([(CHUNK, bytes([2]) * 32)])
            assert [pack_id[0] for pack_id, _ in other.dead_packs()] == [1]
        assert [pack_id[0] for pack_id, _ in one.dead_packs()] == [2]
        assert one.unreached_chunks() == 1
        one.condemn_the_rest()
    assert rows.is_live(CHUNK, bytes([1]) * 32)
    assert not rows.is_live(CHUNK, bytes([2]) * 32)


def test_packs_to_verify(rows: Rows) -> None:
    rows.add_pack(pack(1, header(CHUNK, 1)))
    rows.add_pack(pack(2, header(CHUNK, 2)))
    rows.set_verified(bytes([1]) * 16, 100)
    assert [pack_id[0] for pack_id, _ in rows.packs_to_verify(100)] == [2]
    assert [pack_id[0] for pack_id, _ in rows.packs_to_verify(101)] == [1, 2]


def test_what_a_delta_is_against_is_kept(rows: Rows) -> None:
    rows.add_pack(pack(1, header(CHUNK, 1), header(CHUNK, 2, base=1)))
    row = rows.frame(CHUNK, bytes([2]) * 32)
    assert row is not None
    assert row.base == bytes([1]) * 32
