"""gc: what nobody needs goes; what anybody may need stays, whatever runs beside it and wherever it is cut short."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from casstore.digests import sha256_digest
from casstore.errors import BusyError, DamagedError, FullError, NotFoundError
from casstore.frames import FrameKind
from casstore.index.database import Database
from casstore.index.rows import BlobInfo, State
from casstore.leases import Lease, open_leases
from casstore.maintenance import gc
from casstore.maintenance.leftovers import remove_leftovers
from casstore.maintenance.repair import mend, rebuild
from casstore.maintenance.verify import check
from casstore.packs import list_packs, pack_path
from casstore.refs import RefKind
from casstore.store import Store
from casstore.testing.builders import (
    GRID_BYTES,
    all_contents,
    contents,
    noise,
    put,
    remove,
    stage,
    version_key,
)
from casstore.transactions import Transaction
from casstore.trees import Entry, Tree
from casstore.versions import Version

Opener = Callable[..., Store]
DATA = noise(1, 3 * GRID_BYTES)
OTHER = noise(2, 3 * GRID_BYTES)


def sound(store: Store) -> bool:
    with store.reading():
        checked = check(store.engine, data=True)
    return not checked.findings and not checked.broken


def find(store: Store, data: bytes) -> BlobInfo | None:
    with store.reading() as reader:
        return reader.find_blob(sha256_digest(data))


def packs(store: Store) -> set[bytes]:
    return set(list_packs(store.layout.packs))


def condemn(store: Store) -> None:
    """Run a gc that finds a lease open and gives up."""
    with store.reading(), pytest.raises(BusyError, match="still using"):
        gc.collect(store.engine, wait_seconds=0)


def put_known(store: Store, name: str, data: bytes) -> Callable[[], None]:
    """Begin to put in a file of which only the name is known, as a pull does that need not download it; gives what
    ends it."""
    context = store.writing()
    transaction = context.__enter__()
    info = transaction.find_blob(sha256_digest(data))
    assert info is not None

    def end() -> None:
        tree = transaction.add_tree(Tree.of([Entry.file("f", info.sha256, info.size_bytes)]))
        version = transaction.add_version(Version(tree, None, "", time.time_ns(), metadata={"name": name}))
        transaction.set_ref(version_key(name, version), version)
        transaction.commit()
        context.__exit__(None, None, None)

    return end


def test_what_nobody_needs_goes(small_packs: Store) -> None:
    kept = put(small_packs, "a", {"a": DATA})
    dropped = put(small_packs, "b", {"b": OTHER, "a": DATA})
    before = packs(small_packs)
    remove(small_packs, "b", dropped)
    with small_packs.reading():
        estimated = gc.estimate(small_packs.engine)
    collected = gc.collect(small_packs.engine)
    assert collected == estimated
    assert collected.chunks == 3
    assert collected.packs == len(before - packs(small_packs)) > 0
    assert packs(small_packs) == small_packs.engine.ledger.rows.pack_ids()
    assert find(small_packs, OTHER) is None
    with small_packs.reading() as reader:
        assert contents(reader, kept) == {"a": DATA}
        assert reader.versions_with_prefix(dropped.hex) == []
    assert sound(small_packs)
    assert gc.collect(small_packs.engine) == gc.Collected(0, 0, 0)


def test_the_bytes_reclaimed_are_those_of_the_files(small_packs: Store, root: Path) -> None:
    def size_bytes() -> int:
        return sum(path.stat().st_size for path in (root / "packs").iterdir())

    version = put(small_packs, "a", {"a": DATA})
    (root / "packs" / ("0" * 32 + ".pack.tmp")).write_bytes(b"dead writer's")
    (root / "packs" / ("1" * 32 + ".pack")).write_bytes(b"stranger")
    (root / ".journal.0.tmp").write_bytes(b"x")
    remove(small_packs, "a", version)
    before = size_bytes()
    assert gc.collect(small_packs.engine).reclaimed_bytes == before + 1
    assert size_bytes() == 0


def test_an_estimate_of_what_a_removal_would_free(small_packs: Store) -> None:
    one, two = put(small_packs, "a", {"a": DATA}), put(small_packs, "a", {"b": OTHER})
    with small_packs.reading():
        assert gc.estimate(small_packs.engine).chunks == 0
        assert gc.estimate(small_packs.engine, [version_key("a", one)]).chunks == 3
        both = gc.estimate(small_packs.engine, [version_key("a", one), version_key("a", two)])
    assert (both.chunks, both.packs) == (6, len(packs(small_packs)))
    assert len(all_contents(small_packs)) == 2


def test_what_is_condemned_is_invisible_and_is_stored_anew(small_packs: Store) -> None:
    version = put(small_packs, "a", {"a": DATA})
    remove(small_packs, "a", version)
    condemn(small_packs)
    assert find(small_packs, DATA) is None
    with small_packs.reading() as reader:
        assert reader.versions_with_prefix(version.hex) == []
        assert contents(reader, version) == {"a": DATA}  # as somebody may go on doing who has the id from before
    with small_packs.writing() as transaction:
        assert transaction.add_bytes(DATA, "a").added_bytes > len(DATA)
        stage(transaction, "again", {"a": DATA})
        transaction.commit()
    gc.collect(small_packs.engine)
    assert list(all_contents(small_packs).values()) == [{"a": DATA}]
    assert sound(small_packs)


def test_a_writer_that_gc_must_wait_for_is_rescued_at_its_commit(small_packs: Store, opened: Opener) -> None:
    old = put(small_packs, "old", {"a": DATA})
    with small_packs.writing() as transaction:
        remove(small_packs, "old", old)
        assert transaction.add_bytes(DATA, "a").added_bytes == 0
        with pytest.raises(BusyError):
            gc.collect(small_packs.engine, wait_seconds=0)
        version = stage(transaction, "new", {"a": DATA, "b": OTHER})
        transaction.commit()
        with opened().reading() as reader:  # at once, before any gc
            assert contents(reader, version) == {"a": DATA, "b": OTHER}
    gc.collect(small_packs.engine)
    assert [name for name, _ in all_contents(opened())] == ["new"]
    assert sound(small_packs)


def test_a_pull_that_gc_must_wait_for_is_rescued_at_its_commit(small_packs: Store) -> None:
    """It has found the blob by its name and never had its bytes: nothing of it can be stored anew."""
    old = put(small_packs, "old", {"a": DATA})
    end = put_known(small_packs, "new", DATA)
    remove(small_packs, "old", old)
    with pytest.raises(BusyError):
        gc.collect(small_packs.engine, wait_seconds=0)
    end()
    gc.collect(small_packs.engine)
    assert list(all_contents(small_packs).values()) == [{"f": DATA}]


def test_gc_waits_for_a_writer_and_then_takes_what_it_did_not_need(small_packs: Store) -> None:
    old = put(small_packs, "old", {"a": DATA, "b": OTHER})
    collected: list[gc.Collected] = []
    end = put_known(small_packs, "new", DATA)
    remove(small_packs, "old", old)
    thread = threading.Thread(target=lambda: collected.append(gc.collect(small_packs.engine, wait_seconds=30)))
    thread.start()
    while find(small_packs, DATA) is not None:
        time.sleep(0.001)
    assert thread.is_alive()
    end()
    thread.join(30)
    assert [one.chunks for one in collected] == [3]
    assert list(all_contents(small_packs).values()) == [{"f": DATA}]
    assert find(small_packs, OTHER) is None
    assert sound(small_packs)


def test_a_recipe_entered_on_the_way_has_its_chunks(small_packs: Store) -> None:
    """A recipe counts as soon as its pack is full. Its writer had looked the chunks up before a condemn, and dies
    before its commit; whoever finds the recipe meanwhile must find the chunks too."""
    old = put(small_packs, "old", {"a": DATA})
    remove(small_packs, "old", old)
    with small_packs.writing() as transaction:
        padded = DATA + b"pad"
        transaction.add_bytes(padded, "a")  # its recipe is new, three of its chunks are known
        with pytest.raises(BusyError):
            gc.collect(small_packs.engine, wait_seconds=0)
        while find(small_packs, padded) is None:
            transaction.add_bytes(noise(time.time_ns(), 6000), "filler")
    end = put_known(small_packs, "new", padded)  # its lease is newer than the condemn: nobody waits for it
    with pytest.raises(BusyError):
        gc.collect(small_packs.engine, wait_seconds=0)  # finishes the first one
    end()
    gc.collect(small_packs.engine)
    assert list(all_contents(small_packs).values()) == [{"f": padded}]
    assert sound(small_packs)


def test_a_version_named_by_its_id_only_is_rescued_whole_or_refused(small_packs: Store) -> None:
    version = put(small_packs, "a", {"a": DATA})
    remove(small_packs, "a", version)
    condemn(small_packs)
    with small_packs.writing() as transaction:
        transaction.set_ref(version_key("a", version), version)
        transaction.commit()
    gc.collect(small_packs.engine)
    assert list(all_contents(small_packs).values()) == [{"a": DATA}]
    remove(small_packs, "a", version)
    gc.collect(small_packs.engine)
    with small_packs.writing() as transaction:
        transaction.set_ref(version_key("a", version), version)
        with pytest.raises(NotFoundError):
            transaction.commit()


def test_a_reader_goes_on_reading(small_packs: Store) -> None:
    version = put(small_packs, "a", {"a": DATA})
    done = threading.Event()

    def collect() -> None:
        gc.collect(small_packs.engine, wait_seconds=30)
        done.set()

    with small_packs.reading() as reader:
        blob = reader.open_blob(sha256_digest(DATA))
        stream = blob.stream(ahead_bytes=0)
        got = [bytes(next(stream))]
        remove(small_packs, "a", version)
        thread = threading.Thread(target=collect)
        thread.start()
        while find(small_packs, DATA) is not None:
            time.sleep(0.001)
        got += [bytes(piece) for piece in stream]
        assert b"".join(got) == DATA
        assert not done.is_set()
    thread.join(30)
    assert done.is_set()
    assert packs(small_packs) == set()


def test_a_gc_that_was_killed_between_condemn_and_listing_is_finished(
    small_packs: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = put(small_packs, "a", {"a": DATA})
    remove(small_packs, "a", version)
    with monkeypatch.context() as patch:
        patch.setattr(gc, "open_leases", lambda _directory: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            gc.collect(small_packs.engine)
    assert small_packs.engine.ledger.rows.any_condemned()
    lease = Lease.take(small_packs.layout.leases)  # nobody knows whether it is older than the condemn
    with pytest.raises(BusyError):
        gc.collect(small_packs.engine, wait_seconds=0)
    assert len(packs(small_packs)) > 0
    lease.release()
    assert gc.collect(small_packs.engine).chunks == 3
    assert packs(small_packs) == set()


def split(store: Store) -> bytes:
    """A blob of a removed version whose chunks fill a pack of their own, while its recipe lies beside what is needed;
    gives its bytes. The store must have small packs."""
    with store.writing() as transaction:
        dead = stage(transaction, "dead", {"a": DATA})
        stage(transaction, "live", {"b": b"small"})
        transaction.commit()
    remove(store, "dead", dead)
    return DATA


@pytest.mark.parametrize("first", range(1, 12))
def test_commits_that_are_lost_bring_back_nothing_without_its_bytes(
    small_packs: Store, opened: Opener, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """From some COMMIT on all fail, each after its journal entry was synced."""
    data = split(small_packs)
    real = Database.execute
    number = 0

    def execute(self: Database, statement: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        nonlocal number
        number += statement == "COMMIT"
        if statement == "COMMIT" and number >= first:
            raise FullError("lost")
        return real(self, statement, values)

    failed = False
    with monkeypatch.context() as patch:
        patch.setattr(Database, "execute", execute)
        try:
            gc.collect(small_packs.engine)
        except FullError:
            failed = True
    assert failed == (number >= first)
    again = opened(pack_bytes=10_000)
    if find(again, data) is not None:
        put_known(again, "again", data)()
    put(again, "stored", {"f": data})
    gc.collect(again.engine)
    assert all(files in ({"b": b"small"}, {"f": data}) for files in all_contents(again).values())
    assert sound(again)
    assert packs(again) == again.engine.ledger.rows.pack_ids()


def test_dropped_rows_do_not_come_back_with_a_rebuild(small_packs: Store) -> None:
    data = split(small_packs)
    with small_packs.reading() as reader:
        (dead,) = [version for digit in "0123456789abcdef" for version in reader.versions_with_prefix(digit)
                   if reader.version(version).metadata["name"] == "dead"]  # fmt: skip
    gc.collect(small_packs.engine)
    rebuild(small_packs.layout)
    assert find(small_packs, data) is None
    with small_packs.reading() as reader:
        assert reader.versions_with_prefix(dead.hex) == []
    put(small_packs, "again", {"a": data})
    assert len(all_contents(small_packs)) == 2
    assert sound(small_packs)


def test_packs_that_nobody_entered_go_when_their_writers_are_dead(small_packs: Store, root: Path) -> None:
    stranger = root / "packs" / f"{'ab' * 16}.pack"
    stranger.write_bytes(b"left by a writer that died")
    lease = Lease.take(root / "leases")
    with pytest.raises(BusyError):
        gc.collect(small_packs.engine, wait_seconds=0)
    assert stranger.exists()  # its writer may be the one that holds the lease
    lease.release()
    assert gc.collect(small_packs.engine).packs == 1
    assert not stranger.exists()


def test_a_pack_that_is_sealed_and_not_entered_yet_stays(small_packs: Store) -> None:
    with small_packs.writing() as transaction:
        version = stage(transaction, "a", {"a": DATA})
        transaction._seal()
        transaction._take_sealed(all_of_them=True)
        sealed = packs(small_packs) - small_packs.engine.ledger.rows.pack_ids()
        assert sealed
        with pytest.raises(BusyError):
            gc.collect(small_packs.engine, wait_seconds=0)
        assert sealed <= packs(small_packs)
        transaction.commit()
    gc.collect(small_packs.engine)
    with small_packs.reading() as reader:
        assert contents(reader, version) == {"a": DATA}


def test_a_pack_that_is_entered_while_gc_waits_stays(small_packs: Store) -> None:
    with small_packs.writing() as transaction:
        version = stage(transaction, "a", {"a": DATA})
        transaction._seal()
        transaction._take_sealed(all_of_them=True)
        thread = threading.Thread(target=lambda: gc.collect(small_packs.engine, wait_seconds=30))
        thread.start()
        while small_packs.engine.ledger.meta.get("gc.leases") is None:
            time.sleep(0.001)
        transaction.commit()
    thread.join(30)
    with small_packs.reading() as reader:
        assert contents(reader, version) == {"a": DATA}


def test_the_delete_rescues_by_itself_what_newer_refs_need(small_packs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old = put(small_packs, "old", {"a": DATA})
    end = put_known(small_packs, "new", DATA)
    remove(small_packs, "old", old)
    with pytest.raises(BusyError):
        gc.collect(small_packs.engine, wait_seconds=0)
    monkeypatch.setattr(Transaction, "_acquit", lambda *_arguments: None)
    end()
    gc.collect(small_packs.engine)
    assert list(all_contents(small_packs).values()) == [{"f": DATA}]
    assert sound(small_packs)


def test_a_recipe_whose_entry_was_lost_has_its_chunks_when_it_is_replayed(
    small_packs: Store, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = put(small_packs, "old", {"a": DATA})
    remove(small_packs, "old", old)
    padded = DATA + b"pad"
    real = Database.execute

    def execute(self: Database, statement: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        if statement == "COMMIT":
            raise FullError("lost")
        return real(self, statement, values)

    def work() -> None:
        with small_packs.writing() as transaction:
            transaction.add_bytes(padded, "a")
            with pytest.raises(BusyError):
                gc.collect(small_packs.engine, wait_seconds=0)
            with monkeypatch.context() as patch:
                patch.setattr(Database, "execute", execute)
                while True:
                    transaction.add_bytes(noise(time.time_ns(), 6000), "filler")

    with pytest.raises(FullError):
        work()
    again = opened(pack_bytes=10_000)
    end = put_known(again, "new", padded)
    with pytest.raises(BusyError):
        gc.collect(again.engine, wait_seconds=0)
    end()
    gc.collect(again.engine)
    assert list(all_contents(again).values()) == [{"f": padded}]
    assert sound(again)


def test_what_a_dead_writer_kept_stays_until_its_leftovers_are_removed(small_packs: Store) -> None:
    with small_packs.writing() as transaction:
        transaction.keep(transaction.add_bytes(DATA, "a").info)
        transaction.add_bytes(OTHER, "b")
        transaction.commit()
        remove_leftovers(small_packs.engine)
        with small_packs.reading() as reader:
            assert [ref.key.name for ref in reader.refs(RefKind.PARTIAL)] == [transaction.lease]
    gc.collect(small_packs.engine)
    assert find(small_packs, DATA) is not None
    assert find(small_packs, OTHER) is None
    remove_leftovers(small_packs.engine, dry_run=True)
    gc.collect(small_packs.engine)
    assert find(small_packs, DATA) is not None
    remove_leftovers(small_packs.engine)
    assert gc.collect(small_packs.engine).chunks == 3
    assert packs(small_packs) == set()


def test_what_was_kept_can_be_let_go(small_packs: Store) -> None:
    with small_packs.writing() as transaction:
        transaction.keep(transaction.add_bytes(DATA, "a").info)
        transaction.commit()
        stage(transaction, "a", {"a": DATA})
        transaction.let_go()
        transaction.commit()
    with small_packs.reading() as reader:
        assert reader.refs(RefKind.PARTIAL) == []
    gc.collect(small_packs.engine)
    assert len(all_contents(small_packs)) == 1


def test_leftovers_of_an_operation_that_begins_meanwhile_stay(
    small_packs: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from casstore.maintenance import leftovers

    writing = small_packs.writing()

    def begin_after_listing(directory: Path) -> list[str]:
        listed = open_leases(directory)
        transaction = writing.__enter__()
        transaction.keep(transaction.add_bytes(DATA, "a").info)
        transaction.commit()
        return listed

    monkeypatch.setattr(leftovers, "open_leases", begin_after_listing)
    remove_leftovers(small_packs.engine)
    with small_packs.reading() as reader:
        assert len(reader.refs(RefKind.PARTIAL)) == 1
    writing.__exit__(None, None, None)


def test_what_is_committed_while_gc_walks_stays(small_packs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(small_packs, "a", {"a": DATA})
    real = gc.check_needed
    walks = 0

    def walk(*arguments: object) -> None:
        nonlocal walks
        walks += 1
        real(*arguments)  # type: ignore[arg-type]
        if walks == 1:
            put(small_packs, "b", {"b": OTHER})

    monkeypatch.setattr(gc, "check_needed", walk)
    gc.collect(small_packs.engine)
    assert len(all_contents(small_packs)) == 2
    assert sound(small_packs)


def test_a_blob_that_gets_another_recipe_while_gc_walks_stays(
    small_packs: Store, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(small_packs, "a", {"a": DATA})
    info = find(small_packs, DATA)
    assert info is not None
    with small_packs.engine.ledger.locked():
        small_packs.engine.ledger.rows.set_state(FrameKind.RECIPE, [info.recipe.value], State.INCOMPLETE)
    other = Store.open(small_packs.path, workers=1)  # it knows no formats, and cuts the file elsewhere
    real = gc.check_needed
    walks = 0

    def walk(*arguments: object) -> None:
        nonlocal walks
        walks += 1
        real(*arguments)  # type: ignore[arg-type]
        if walks == 1:
            put(other, "b", {"a": DATA})
            remove(other, "b", other.engine.ledger.refs.all()[-1].target)

    monkeypatch.setattr(gc, "check_needed", walk)
    gc.collect(small_packs.engine)
    found = find(small_packs, DATA)
    assert found is not None
    assert found.recipe != info.recipe
    assert list(all_contents(small_packs).values()) == [{"a": DATA}]
    other.close()


def test_one_gc_at_a_time(small_packs: Store, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "_LOCK_WAIT_SECONDS", 0.02)
    with (
        gc.maintenance_lock(opened().engine),
        pytest.raises(BusyError, match="another gc"),
    ):
        gc.collect(small_packs.engine)
    gc.collect(small_packs.engine)


def test_it_says_that_it_waits(small_packs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "_SILENT_SECONDS", 0.01)
    told: list[str] = []
    gc.collect(small_packs.engine, waiting=lambda: told.append("idle"))
    with small_packs.reading(), pytest.raises(BusyError):
        gc.collect(small_packs.engine, wait_seconds=0.02, waiting=lambda: told.append("waits"))
    assert told == ["waits"]


def test_gc_drops_nothing_while_it_cannot_tell_what_is_needed(small_packs: Store) -> None:
    kept = put(small_packs, "a", {"a": DATA})
    dropped = put(small_packs, "b", {"b": OTHER})
    remove(small_packs, "b", dropped)
    with small_packs.reading() as reader:
        tree = reader.version(kept).tree
    row = small_packs.engine.ledger.rows.frame(FrameKind.TREE, tree.value)
    assert row is not None
    with pack_path(small_packs.layout.packs, row.pack).open("r+b") as file:
        file.seek(row.offset + row.length - 3)
        file.write(b"???")
    before = packs(small_packs)
    with pytest.raises(DamagedError):
        gc.collect(small_packs.engine)
    assert packs(small_packs) == before
    # A repair has seen the damage: nobody will ever know again what the tree named.
    with small_packs.reading():
        assert mend(small_packs.engine).broken
    assert gc.collect(small_packs.engine).chunks == 6
    with small_packs.reading() as reader:
        assert reader.version(kept).tree == tree


def test_condemned_damage_is_still_damage_when_it_is_let_go(small_packs: Store) -> None:
    version = put(small_packs, "a", {"a": DATA})
    info = find(small_packs, DATA)
    assert info is not None
    with small_packs.reading() as reader:
        chunk = reader.recipe(info.recipe).parts[0].chunk
    rows = small_packs.engine.ledger.rows
    with small_packs.engine.ledger.locked():
        rows.set_state(FrameKind.CHUNK, [chunk], State.DAMAGED)
    remove(small_packs, "a", version)
    with small_packs.writing() as transaction:
        transaction.set_ref(version_key("a", version), version)
        with pytest.raises(BusyError):
            gc.collect(small_packs.engine, wait_seconds=0)
        transaction.commit()
    assert not rows.any_condemned()
    assert not rows.is_live(FrameKind.CHUNK, chunk)
    with small_packs.writing() as transaction:
        assert transaction.add_bytes(DATA, "a").added_bytes > 0
        transaction.commit()
    assert rows.is_live(FrameKind.CHUNK, chunk)
    assert sound(small_packs)
