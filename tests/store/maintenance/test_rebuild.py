"""Rebuilding: the index comes back from journal and packs; what was removed or never counted does not."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from casstore import ledger
from casstore.digests import sha256_digest
from casstore.errors import BusyError, NeedsRepairError, NotFoundError, StoreError
from casstore.frames import FrameKind
from casstore.index.database import Database
from casstore.index.places import FileState, Place, PlaceKind
from casstore.maintenance import gc
from casstore.maintenance.rebuild import rebuild
from casstore.maintenance.repair import mend
from casstore.maintenance.verify import check
from casstore.packs import list_packs, pack_path, read_frames
from casstore.refs import Ref, RefKey, RefKind
from casstore.store import Store
from casstore.testing.builders import GRID_BYTES, all_contents, contents, noise, put, remove, stage
from casstore.trees import Tree
from casstore.versions import Version

Opener = Callable[..., Store]
DATA = noise(1, 3 * GRID_BYTES)
OTHER = noise(2, 3 * GRID_BYTES)


def sound(store: Store) -> bool:
    with store.reading():
        checked = check(store.engine, data=True)
    return not checked.findings and not checked.broken


def refs(store: Store) -> list[Ref]:
    with store.reading() as reader:
        return reader.refs()


def fill(store: Store) -> None:
    """Versions, a tag, a removed version, something that was never committed."""
    one = put(store, "a", {"a": DATA}, created_ns=1)
    put(store, "a", {"a": DATA, "b": OTHER}, created_ns=2)
    gone = put(store, "b", {"c": noise(3, 5000)}, created_ns=3)
    with store.writing() as transaction:
        transaction.set_ref(RefKey(RefKind.TAG, "a", "v1"), one)
        transaction.set_ref(RefKey(RefKind.PIN, "a", one.hex), one)
        transaction.commit()
    remove(store, "b", gone)
    with store.writing() as transaction:
        stage(transaction, "never", {"n": noise(4, 20_000)})


@pytest.mark.parametrize("damage", ["gone", "emptied", "cut short", "garbage", "page overwritten", "without its log"])
def test_whatever_happened_to_the_index(small_packs: Store, opened: Opener, root: Path, damage: str) -> None:
    fill(small_packs)
    expected, before = all_contents(small_packs), refs(small_packs)
    small_packs.close()
    index = root / "index.sqlite3"
    data = index.read_bytes()
    if damage == "gone":
        index.unlink()
    else:
        changed = {
            "emptied": b"",
            "cut short": data[:5000],
            "garbage": noise(9, len(data)),
            "page overwritten": data[:8192] + noise(9, 4096) + data[12288:],
            "without its log": data,
        }
        index.write_bytes(changed[damage])
    rebuilt = rebuild(small_packs.layout)
    assert rebuilt.packs == len(list_packs(root / "packs"))
    assert (rebuilt.lost_packs, rebuilt.adopted_packs, rebuilt.damaged_lines) == ((), (), 0)
    again = opened()
    assert all_contents(again) == expected
    assert refs(again) == before
    assert sound(again)
    put(again, "c", {"c": DATA})
    gc.collect(again.engine)
    assert len(all_contents(again)) == 3
    assert sound(again)


def test_every_damaged_page_is_found_or_harmless(small_packs: Store, opened: Opener, root: Path) -> None:
    fill(small_packs)
    expected = all_contents(small_packs)
    small_packs.close()
    good = (root / "index.sqlite3").read_bytes()
    for start in range(0, len(good), 4096):
        (root / "index.sqlite3").write_bytes(good[:start] + noise(start, 4096) + good[start + 4096 :])
        try:
            with opened() as damaged:
                assert all_contents(damaged) == expected
        except StoreError:
            pass
    rebuild(small_packs.layout)
    assert all_contents(opened()) == expected


def test_a_rebuild_of_a_sound_store_changes_nothing(small_packs: Store, root: Path) -> None:
    fill(small_packs)
    journal, expected, before = (root / "journal").read_bytes(), all_contents(small_packs), refs(small_packs)
    for _ in range(2):
        rebuild(small_packs.layout)
        assert (root / "journal").read_bytes() == journal
        assert (all_contents(small_packs), refs(small_packs)) == (expected, before)
    assert not list(root.glob("*rebuilt*"))


def test_what_is_known_of_directories_stays_known_but_is_not_believed(small_packs: Store, tmp_path: Path) -> None:
    version = put(small_packs, "a", {"a": DATA})
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").write_bytes(DATA)
    os.utime(out / "a", ns=(1, 1))
    noted = FileState.of((out / "a").stat(), sha256_digest(DATA))
    place = Place(str(out), PlaceKind.CHECKOUT, "a", version, {"a": noted}, 10**9, 2 * 10**9)
    small_packs.places.save(place)
    out.rename(tmp_path / "moved")
    out.symlink_to("moved")
    for _ in range(2):
        rebuild(small_packs.layout)
        (found,) = small_packs.places.all()
        assert found == replace(place, files={"a": noted.doubted()})
        assert noted.matches((out / "a").stat(), found.saved_ns)
        assert not found.files["a"].matches((out / "a").stat(), found.saved_ns)


def test_what_was_removed_stays_removed(small_packs: Store) -> None:
    gone = put(small_packs, "a", {"a": DATA, "small": b"x"})
    put(small_packs, "b", {"b": OTHER})
    remove(small_packs, "a", gone)
    rebuild(small_packs.layout)
    with small_packs.reading() as reader:
        assert [ref.key.name for ref in reader.refs()] == ["b"]
        assert reader.versions_with_prefix(gone.hex) == [gone]  # gc has not taken it
    gc.collect(small_packs.engine)
    rebuild(small_packs.layout)
    with small_packs.reading() as reader:
        assert reader.versions_with_prefix(gone.hex) == []
        assert reader.find_blob(sha256_digest(DATA)) is None
    assert len(all_contents(small_packs)) == 1
    assert sound(small_packs)


def test_a_torn_tail_never_counted(store: Store, opened: Opener, root: Path) -> None:
    put(store, "a", {"a": DATA})
    good = (root / "journal").read_bytes()
    put(store, "b", {"b": OTHER})
    store.close()
    journal = (root / "journal").read_bytes()
    for tail in (journal[len(good) : -1], journal[len(good) : len(good) + 50], bytes(100)):
        (root / "journal").write_bytes(good + tail)
        (root / "index.sqlite3").unlink()
        rebuilt = rebuild(store.layout)
        assert (rebuilt.damaged_lines, rebuilt.adopted_packs) == (0, ())
        assert (root / "journal").read_bytes() == good
        with opened() as again:
            assert [name for name, _ in all_contents(again)] == ["a"]


def test_a_trailer_that_is_another_packs_is_not_believed(small_packs: Store, opened: Opener, root: Path) -> None:
    """As after a write that went to the wrong place: it is a good trailer, but of other frames."""
    put(small_packs, "a", {"a": DATA})
    put(small_packs, "b", {"b": OTHER[:GRID_BYTES]})
    expected = all_contents(small_packs)
    small_packs.close()
    packs = [pack_path(root / "packs", pack_id) for pack_id in list_packs(root / "packs")]
    trailers = []
    for path in packs:
        data = path.read_bytes()
        start = max(placed.offset + placed.header.frame_length for placed in read_frames(path))
        trailers.append((data[:start], data[start:]))
    for path, (frames, _), (_, trailer) in zip(packs, trailers, reversed(trailers), strict=True):
        path.write_bytes(frames + trailer)
    rebuild(small_packs.layout)
    assert all_contents(opened()) == expected


def damage_line(root: Path, number: int) -> None:
    lines = (root / "journal").read_bytes().splitlines(keepends=True)
    line = lines[number]
    lines[number] = line[:-10] + bytes([line[-10] ^ 1]) + line[-9:]
    (root / "journal").write_bytes(b"".join(lines))


@pytest.mark.parametrize("number", range(-1, 6))
def test_a_damaged_journal_beside_a_sound_index_loses_nothing(
    small_packs: Store, opened: Opener, root: Path, number: int
) -> None:
    fill(small_packs)
    expected, before = all_contents(small_packs), refs(small_packs)
    damage_line(root, number)
    rebuilt = rebuild(small_packs.layout)
    assert rebuilt.damaged_lines >= 1
    assert (rebuilt.adopted_packs, rebuilt.lost_packs) == ((), ())
    again = opened()
    assert (all_contents(again), refs(again)) == (expected, before)
    put(again, "c", {"c": DATA})
    assert sound(again)
    assert rebuild(again.layout).damaged_lines == 0


def test_a_lost_journal_beside_a_sound_index_loses_nothing(small_packs: Store, opened: Opener, root: Path) -> None:
    fill(small_packs)
    expected, before = all_contents(small_packs), refs(small_packs)
    small_packs.close()
    (root / "journal").unlink()
    assert rebuild(small_packs.layout).damaged_lines == 1
    again = opened()
    assert (all_contents(again), refs(again)) == (expected, before)


@pytest.mark.parametrize("number", range(-1, 6))
def test_a_damaged_journal_without_an_index_loses_no_version(
    small_packs: Store, opened: Opener, root: Path, number: int
) -> None:
    fill(small_packs)
    expected = all_contents(small_packs)
    small_packs.close()
    damage_line(root, number)
    (root / "index.sqlite3").unlink()
    assert rebuild(small_packs.layout).damaged_lines >= 1
    with opened() as again:
        found = all_contents(again)
        assert {key: found.get(key) for key in expected} == expected
        assert sound(again)
        gc.collect(again.engine)
        assert {key: all_contents(again).get(key) for key in expected} == expected
    assert rebuild(small_packs.layout).damaged_lines == 0


def test_without_journal_and_index_versions_come_back_under_the_names_they_remember(
    small_packs: Store, opened: Opener, root: Path
) -> None:
    fill(small_packs)
    expected = all_contents(small_packs)
    with small_packs.writing() as transaction:
        tree = transaction.add_tree(Tree.of([]))
        for created_ns, metadata in enumerate([{}, {"name": "../evil"}, {"name": 7}]):
            version = transaction.add_version(Version(tree, None, "", 10 + created_ns, metadata=metadata))
            transaction.set_ref(RefKey(RefKind.VERSION, "x", version.hex), version)
        transaction.commit()
    small_packs.close()
    (root / "journal").unlink()
    (root / "index.sqlite3").unlink()
    rebuilt = rebuild(small_packs.layout)
    assert set(rebuilt.adopted_packs) == set(list_packs(root / "packs"))
    again = opened()
    found = all_contents(again)
    assert {key: found[key] for key in expected} == expected
    assert [ref.key.name for ref in refs(again)].count("recovered") == 3
    assert rebuilt.adopted_versions == len(found)
    with again.reading() as reader:
        created = [reader.version(ref.target).created_ns for ref in reader.refs()]
    assert created == sorted(created)
    gc.collect(again.engine)
    assert all_contents(again) == found
    assert rebuild(again.layout).adopted_packs == ()
    assert sound(again)


@pytest.mark.parametrize("end", ["zeroed", "cut off"])
def test_a_journal_that_has_lost_its_end_beside_a_sound_index_loses_nothing(
    small_packs: Store, opened: Opener, root: Path, end: str
) -> None:
    put(small_packs, "a", {"a": DATA})
    good = (root / "journal").read_bytes()
    put(small_packs, "b", {"b": OTHER})
    expected, before = all_contents(small_packs), refs(small_packs)
    more = len((root / "journal").read_bytes()) - len(good)
    (root / "journal").write_bytes(good + bytes(more if end == "zeroed" else 0))
    with small_packs.reading():
        assert "lost its end" in check(small_packs.engine).findings[0].reason
    rebuilt = rebuild(small_packs.layout)
    assert (rebuilt.adopted_packs, rebuilt.lost_packs) == ((), ())
    again = opened()
    assert (all_contents(again), refs(again)) == (expected, before)
    put(again, "c", {"c": DATA})
    assert sound(again)


def test_a_journal_that_is_an_old_copy(small_packs: Store, opened: Opener, root: Path) -> None:
    put(small_packs, "a", {"a": DATA})
    old = (root / "journal").read_bytes()
    for number in range(3):
        put(small_packs, "b", {"b": noise(10 + number, 9000)}, created_ns=number)
    expected = all_contents(small_packs)
    small_packs.close()
    (root / "journal").write_bytes(old)
    with pytest.raises(NeedsRepairError):
        opened()
    (root / "index.sqlite3").unlink()  # or it would be believed
    rebuilt = rebuild(small_packs.layout)
    # The first transaction after the copy cannot be told from one that was never committed.
    assert rebuilt.adopted_versions == 2
    again = opened()
    assert set(all_contents(again)) < set(expected)
    assert len(all_contents(again)) == 3
    put(again, "c", {"c": OTHER})
    gc.collect(again.engine)
    assert len(all_contents(again)) == 4
    assert sound(again)


def test_packs_that_are_lost_are_named_and_come_back_when_they_are_put_back(
    small_packs: Store, opened: Opener, root: Path
) -> None:
    put(small_packs, "a", {"a": DATA})
    put(small_packs, "b", {"b": OTHER})
    expected = all_contents(small_packs)
    row = small_packs.engine.ledger.rows.pack_ids_in_order()[0]
    lost = root / "packs" / f"{row.hex()}.pack"
    away = root.parent / "away"
    shutil.move(lost, away)
    rebuilt = rebuild(small_packs.layout)
    assert rebuilt.lost_packs == (lost.name,)
    with small_packs.reading() as reader:
        assert reader.find_blob(sha256_digest(DATA)) is None
        assert reader.find_blob(sha256_digest(OTHER)) is not None
        checked = check(small_packs.engine, data=True)
    assert {finding.name for finding in checked.findings} == {"a"}
    shutil.move(away, lost)
    assert rebuild(small_packs.layout).lost_packs == ()
    assert all_contents(small_packs) == expected


def test_gc_goes_on_after_records_were_lost(small_packs: Store, root: Path) -> None:
    version = put(small_packs, "a", {"a": DATA})
    gone = put(small_packs, "b", {"b": OTHER})
    remove(small_packs, "b", gone)
    with small_packs.reading() as reader:
        tree = reader.version(version).tree
    for kind, digest in ((FrameKind.VERSION, version), (FrameKind.TREE, tree)):
        row = small_packs.engine.ledger.rows.frame(kind, digest.value)
        assert row is not None
        (root / "packs" / f"{row.pack.hex()}.pack").unlink(missing_ok=True)
    assert rebuild(small_packs.layout).lost_packs
    with small_packs.reading():
        mend(small_packs.engine)
    gc.collect(small_packs.engine)
    with small_packs.reading() as reader:
        assert [ref.target for ref in reader.refs()] == [version]  # it is for the user to remove it
        with pytest.raises(NotFoundError):
            contents(reader, version)


def test_a_store_in_use_is_not_rebuilt(small_packs: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(small_packs, "a", {"a": DATA})
    before = (root / "index.sqlite3").stat().st_ino
    with small_packs.reading(), pytest.raises(BusyError, match="in use"):
        rebuild(small_packs.layout, wait_seconds=0.05)
    assert (root / "index.sqlite3").stat().st_ino == before


def test_a_writer_at_work_can_end(small_packs: Store, opened: Opener) -> None:
    with small_packs.writing() as transaction:
        stage(transaction, "a", {"a": DATA})
        thread = threading.Thread(target=lambda: rebuild(small_packs.layout, wait_seconds=20))
        thread.start()
        time.sleep(0.05)
        transaction.commit()
    thread.join(20)
    assert not thread.is_alive()
    assert list(all_contents(opened()).values()) == [{"a": DATA}]


def test_an_open_store_goes_over_to_the_new_index(small_packs: Store, opened: Opener) -> None:
    idle = opened()
    put(idle, "a", {"a": DATA})
    rebuild(small_packs.layout)
    put(small_packs, "b", {"b": OTHER})
    assert len(all_contents(idle)) == 2
    put(idle, "c", {"c": DATA})
    assert len(all_contents(small_packs)) == 3
    assert sound(idle)


def test_a_change_begun_on_the_old_index_is_refused(small_packs: Store, opened: Opener) -> None:
    put(small_packs, "a", {"a": DATA})
    old = small_packs.engine
    rebuild(small_packs.layout)
    with pytest.raises(BusyError, match="repaired meanwhile"), old.ledger.change() as change:
        change.set_ref(RefKey(RefKind.TAG, "a", "t"), None)


def test_a_rebuild_that_is_cut_short_can_be_run_again(
    small_packs: Store, opened: Opener, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(small_packs)
    expected = all_contents(small_packs)
    small_packs.close()
    damage_line(root, 3)
    (root / "index.sqlite3").unlink()
    real = Database.close
    monkeypatch.setattr(Database, "close", lambda self: real(self) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rebuild(small_packs.layout)
    monkeypatch.undo()
    rebuild(small_packs.layout)
    found = all_contents(opened())
    assert {key: found.get(key) for key in expected} == expected


def test_a_journal_that_was_begun_anew_rebuilds_too(
    small_packs: Store, opened: Opener, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_REWRITE_BYTES", 500)
    monkeypatch.setattr(ledger, "_LINE_BYTES", 1)
    fill(small_packs)
    expected, before = all_contents(small_packs), refs(small_packs)
    small_packs.close()
    (root / "index.sqlite3").unlink()
    rebuild(small_packs.layout)
    again = opened()
    assert (all_contents(again), refs(again)) == (expected, before)


def place(directory: Path, version: Ref) -> Place:
    state = FileState(len(DATA), 5, 6, sha256_digest(DATA)).doubted()
    return Place(str(directory), PlaceKind.CHECKOUT, "a", version.target, {"a": state}, saved_ns=7, used_ns=8)


def test_what_lies_in_directories_is_still_known(store: Store, opened: Opener, root: Path, tmp_path: Path) -> None:
    fill(store)
    known = place(tmp_path / "out", refs(store)[0])
    store.places.save(known)
    store.close()
    for _ in range(2):
        assert rebuild(store.layout).places == (known,)
        again = opened()
        assert again.places.all() == [known]
        again.close()
    Database(store.layout.index).execute("UPDATE places SET files = x'00'")
    assert rebuild(store.layout).places == ()  # nobody knows what it said
    assert opened().places.all() == []


def test_what_another_store_wrote_is_not_taken_for_what_this_one_did(
    store: Store, opened: Opener, root: Path, tmp_path: Path
) -> None:
    """This store could not give it back, if a checkout replaced it."""
    fill(store)
    known = place(tmp_path / "out", refs(store)[0])
    other = opened(tmp_path / "other")
    other.places.save(known)
    for each in (store, other):
        each.close()
    shutil.copy(other.layout.index, store.layout.index)
    assert rebuild(store.layout).places == (known,)  # it may have what is lost
    assert opened().places.all() == []
