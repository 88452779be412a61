"""The ledger: journal and index end up level whatever came between them, or it says that they cannot."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from casstore import ledger as module
from casstore.errors import BusyError, DiskError, FullError, NeedsRepairError, StoreError
from casstore.index.database import Database, replace_database
from casstore.journal import Journal
from casstore.maintenance import gc
from casstore.maintenance.verify import check
from casstore.refs import RefKey, RefKind
from casstore.store import Store
from casstore.testing.builders import all_contents, noise, put, remove, stage
from casstore.testing.faults import Failing, Recording, hooked

Opener = Callable[..., Store]
A, B = {"a": noise(1, 9000)}, {"b": noise(2, 9000)}


@contextmanager
def failing_commits(monkeypatch: pytest.MonkeyPatch, first: int = 1, last: int = 99) -> Iterator[None]:
    """COMMITs of these numbers fail, after the journal was synced."""
    real = Database.execute
    number = 0

    def execute(self: Database, statement: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        nonlocal number
        if statement == "COMMIT":
            number += 1
            if first <= number <= last:
                raise FullError("the index cannot grow")
        return real(self, statement, values)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "execute", execute)
        yield


def sound(store: Store) -> bool:
    with store.reading():
        checked = check(store.engine, data=True)
    return not checked.findings and not checked.broken


def test_the_journal_is_synced_before_the_index_commits(store: Store, root: Path) -> None:
    recording = Recording()
    with hooked(recording):
        put(store, "a", A)
    journal = str(root / "journal")
    (pack,) = {path for operation, path in recording.calls if operation == "rename"}
    order = [call for call in recording.calls if call[1] in (journal, pack, str(root / "packs"), f"{pack}.tmp")]
    assert [operation for operation, path in order if path == f"{pack}.tmp"][-1] == "fsync"
    assert order[-4:] == [
        ("rename", pack),
        ("fsync", str(root / "packs")),
        ("write", journal),
        ("fsync", journal),
    ]


def test_an_index_that_is_behind_is_brought_up(store: Store, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A COMMIT that failed after its entry was synced: the entry stands."""
    put(store, "a", A)
    with failing_commits(monkeypatch), pytest.raises(FullError):
        put(store, "b", B)
    assert {name for name, _ in all_contents(opened())} == {"a", "b"}
    assert {name for name, _ in all_contents(store)} == {"a", "b"}
    put(store, "c", B)
    assert {name for name, _ in all_contents(store)} == {"a", "b", "c"}
    assert sound(store)


def test_a_failed_commit_is_brought_up_by_the_next_change_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = put(store, "a", A)
    with failing_commits(monkeypatch), pytest.raises(FullError):
        remove(store, "a", first)
    put(store, "b", B)
    assert {name for name, _ in all_contents(store)} == {"b"}


@pytest.mark.parametrize("last", [1, 99])
def test_packs_of_a_commit_that_failed_stay_if_the_journal_has_them(
    store: Store, opened: Opener, root: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    with failing_commits(monkeypatch, 1, last), pytest.raises(FullError):
        put(store, "a", A)
    assert len(list((root / "packs").iterdir())) == 1
    assert len(all_contents(opened())) == 1


def test_several_commits_that_are_lost_one_after_the_other(
    store: Store, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is full for the index and not for the journal: the last of a gc, and the changes after it."""
    remove(store, "a", put(store, "a", A))
    # Of a gc's COMMITs the fourth is that of the packs.
    with failing_commits(monkeypatch, 4), pytest.raises(FullError):
        gc.collect(store.engine)
    for name in ("b", "c"):
        with failing_commits(monkeypatch), pytest.raises(FullError):
            put(store, name, B)
    again = opened()
    assert {name for name, _ in all_contents(again)} == {"b", "c"}
    assert sound(again)


def test_packs_of_a_commit_that_never_got_to_the_journal_go(store: Store, root: Path) -> None:
    with hooked(Failing(errno.ENOSPC, "write", "journal")), pytest.raises(FullError):
        put(store, "a", A)
    assert list((root / "packs").iterdir()) == []
    assert all_contents(store) == {}


def test_an_append_that_could_not_be_taken_back_stands(store: Store, opened: Opener, root: Path) -> None:
    def fail(operation: str, path: str) -> None:
        if path == str(root / "journal") and operation in ("fsync", "truncate"):
            raise OSError(errno.EIO, "I/O error", path)

    with hooked(fail), pytest.raises(DiskError):
        put(store, "a", A)
    assert len(all_contents(opened())) == 1
    assert sound(store)


def test_a_torn_tail_is_cut_off(store: Store, opened: Opener, root: Path) -> None:
    put(store, "a", A)
    good = (root / "journal").read_bytes()
    put(store, "b", B)
    store.close()
    longer = (root / "journal").read_bytes()
    for length in {len(good) + 1, (len(good) + len(longer)) // 2, len(longer) - 1}:
        # The index has the transaction: then the journal is an old copy. It has not: then it never counted.
        (root / "journal").write_bytes(longer[:length])
        with pytest.raises(NeedsRepairError, match="older"):
            opened()
    (root / "journal").write_bytes(longer)
    with opened() as again:
        assert len(all_contents(again)) == 2


def test_a_torn_tail_past_the_index_is_cut_off(store: Store, opened: Opener, root: Path) -> None:
    put(store, "a", A)
    size_bytes = (root / "journal").stat().st_size
    for tail in (b"x", bytes(100), b"0" * 32 + b' {"operations":[]}\n'):
        with (root / "journal").open("ab") as file:
            file.write(tail)
        assert len(all_contents(opened())) == 1
        assert (root / "journal").stat().st_size == size_bytes


def test_a_damaged_middle_needs_repair(store: Store, opened: Opener, root: Path) -> None:
    put(store, "a", A)
    with (root / "journal").open("ab") as file:
        file.write(b"torn\nmore\n")
    with pytest.raises(NeedsRepairError, match="damaged at byte"):
        opened()


def test_a_journal_that_is_an_old_copy_needs_repair(store: Store, opened: Opener, root: Path) -> None:
    put(store, "a", A)
    old = (root / "journal").read_bytes()
    put(store, "b", B)
    store.close()
    (root / "journal").write_bytes(old)
    with pytest.raises(NeedsRepairError, match="older than its index") as raised:
        opened()
    assert raised.value.remedy is not None


def test_journal_and_index_that_are_both_old_copies_take_no_writes(store: Store, opened: Opener, root: Path) -> None:
    put(store, "a", A)
    store.close()
    saved = root.parent / "saved"
    saved.mkdir()
    for name in ("journal", "index.sqlite3"):
        shutil.copy(root / name, saved)
    with opened() as again:
        put(again, "b", B)
        put(again, "c", {"c": noise(3, 100)})
    for name in ("journal", "index.sqlite3"):
        shutil.copy(saved / name, root)
    with opened() as again:
        assert len(all_contents(again)) == 1
        for change in (lambda: put(again, "d", B), lambda: gc.collect(again.engine)):
            with pytest.raises(NeedsRepairError, match="older than its packs"):
                change()
    assert len(list((root / "packs").iterdir())) == 3


def old_index(root: Path) -> Callable[[], None]:
    """Copies the index; gives what puts the copy back."""
    copy = root.parent / "copy"
    shutil.copy(root / "index.sqlite3", copy)

    def put_back() -> None:
        temporary = root / "index.sqlite3.put-back"
        shutil.copy(copy, temporary)
        replace_database(temporary, root / "index.sqlite3")

    return put_back


def test_an_old_copy_of_the_index_is_brought_up_where_nothing_was_dropped_since(
    store: Store, opened: Opener, root: Path
) -> None:
    first = put(store, "a", A)
    store.close()
    put_back = old_index(root)
    with opened() as again:
        put(again, "b", B)
        remove(again, "a", first)
        put(again, "c", {**A, **B})
    put_back()
    with opened() as again:
        assert {name for name, _ in all_contents(again)} == {"b", "c"}
        assert sound(again)


def test_an_old_copy_of_the_index_with_rows_of_packs_that_are_gone_needs_repair(
    store: Store, opened: Opener, root: Path
) -> None:
    first = put(store, "a", A)
    store.close()
    put_back = old_index(root)
    with opened() as again:
        remove(again, "a", first)
        gc.collect(again.engine)
    put_back()
    with pytest.raises(NeedsRepairError, match="too far behind"):
        opened()


def test_an_old_copy_of_the_index_that_would_enter_what_counts_on_packs_that_are_gone_needs_repair(
    store: Store, opened: Opener, root: Path
) -> None:
    store.close()
    put_back = old_index(root)
    with opened() as again:
        first = put(again, "a", A)
        put(again, "b", B)
        remove(again, "a", first)
        gc.collect(again.engine)
    put_back()
    with pytest.raises(NeedsRepairError, match="too far behind"):
        opened()


def test_an_old_copy_of_the_index_from_while_a_gc_was_under_way(store: Store, opened: Opener, root: Path) -> None:
    remove(store, "a", put(store, "a", A))
    with store.reading(), pytest.raises(BusyError):
        gc.collect(store.engine, wait_seconds=0)
    store.close()
    put_back = old_index(root)
    with opened() as again:
        put(again, "b", {**A, **B})
    put_back()
    with opened() as again:
        assert not again.engine.ledger.rows.any_condemned()
        gc.collect(again.engine)
        assert [name for name, _ in all_contents(again)] == ["b"]
        assert sound(again)


def test_an_index_that_has_lost_its_rows_needs_repair(store: Store, opened: Opener, root: Path) -> None:
    put(store, "a", A)
    store.close()
    (root / "index.sqlite3").write_bytes(b"")
    with pytest.raises(NeedsRepairError, match="is empty"):
        opened()
    (root / "index.sqlite3").unlink()
    with pytest.raises(NeedsRepairError, match="is missing"):
        opened()


def test_another_stores_index_needs_repair(store: Store, opened: Opener, root: Path, tmp_path: Path) -> None:
    put(store, "a", A)
    other = opened(tmp_path / "other")
    put(other, "b", B)  # as many transactions
    other.close()
    store.close()
    shutil.copy(tmp_path / "other" / "index.sqlite3", root / "index.sqlite3")
    with pytest.raises(NeedsRepairError, match="does not belong"):
        opened()


def test_a_missing_journal_or_pack_needs_repair(
    store: Store, opened: Opener, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing_commits(monkeypatch), pytest.raises(FullError):
        put(store, "a", A)
    (pack,) = (root / "packs").iterdir()
    away = root.parent / "away"
    pack.rename(away)
    with pytest.raises(NeedsRepairError, match="missing"):
        opened()
    away.rename(pack)
    assert len(all_contents(opened())) == 1
    (root / "journal").unlink()
    with pytest.raises(NeedsRepairError, match="missing"):
        opened()


def small_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REWRITE_BYTES", 1000)
    monkeypatch.setattr(module, "_LINE_BYTES", 20)


def grow(store: Store, times: int = 6) -> None:
    for number in range(times):
        with store.writing() as transaction:
            version = stage(transaction, "a", A)
            transaction.set_ref(RefKey(RefKind.TAG, "a", "t"), version if number % 2 else None)
            transaction.commit()


def test_a_journal_of_mostly_history_is_begun_anew(
    store: Store, opened: Opener, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = opened()
    small_journals(monkeypatch)
    generation = Journal(root / "journal").begins().generation
    grow(store, 12)
    assert Journal(root / "journal").begins().generation != generation
    assert (root / "journal").stat().st_size < 2000
    assert len(all_contents(other)) == len(all_contents(store)) == 1  # one that had it open goes on
    put(other, "b", B)
    assert len(all_contents(opened())) == 2
    assert store.engine.ledger.sequence == other.engine.ledger.sequence
    assert sound(store)


@pytest.mark.parametrize("operation", ["create", "write", "fsync", "rename"])
def test_a_new_generation_that_cannot_be_written_is_no_failure(
    store: Store, opened: Opener, root: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    small_journals(monkeypatch)
    with hooked(Failing(errno.ENOSPC, operation, ".journal.")):
        grow(store)
    assert len(all_contents(opened())) == 1
    grow(store)
    assert (root / "journal").stat().st_size < 2000


def test_killed_between_the_new_generation_and_its_commit(
    store: Store, opened: Opener, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(store)
    small_journals(monkeypatch)
    generation = Journal(root / "journal").begins().generation
    with failing_commits(monkeypatch, 2, 2):  # the first is that of the change, which stands
        put(store, "b", B)
    assert Journal(root / "journal").begins().generation != generation
    for _ in range(2):
        assert {name for name, _ in all_contents(opened())} == {"a", "b"}
    put(store, "c", B)
    assert len(all_contents(store)) == 3


def test_a_change_that_raises_leaves_nothing(store: Store, root: Path) -> None:
    put(store, "a", A)
    journal = (root / "journal").read_bytes()
    key = RefKey(RefKind.TAG, "a", "x")
    with suppress(LookupError), store.engine.ledger.change() as change:
        change.set_ref(key, None)
        change.set_ref(key, store.engine.ledger.refs.all()[0].target)
        raise LookupError
    assert store.engine.ledger.refs.get(key) is None
    assert (root / "journal").read_bytes() == journal


def test_a_change_of_nothing_writes_nothing(store: Store, root: Path) -> None:
    version = put(store, "a", A)
    journal = (root / "journal").read_bytes()
    with store.engine.ledger.change() as change:
        change.set_ref(RefKey(RefKind.VERSION, "a", version.hex), version)
        change.set_ref(RefKey(RefKind.TAG, "a", "never"), None)
    assert (root / "journal").read_bytes() == journal


def test_waiting_for_the_lock_ends(store: Store, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    other = opened()
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.05)
    with store.engine.ledger.locked(), pytest.raises(BusyError, match="another process"):
        put(other, "a", A)
    put(other, "a", A)


def test_no_other_errors_than_the_engines_own(store: Store, opened: Opener, root: Path) -> None:
    """Whatever of the journal is cut off or overwritten, opening works or says what to do."""
    put(store, "a", A)
    store.close()
    good = (root / "journal").read_bytes()
    outcomes = set()
    for place in range(0, len(good), 13):
        for data in (good[:place], good[:place] + b"\xff" + good[place + 1 :], good + good[place:]):
            (root / "journal").write_bytes(data)
            try:
                opened().close()
                outcomes.add("opened")
            except StoreError as error:
                outcomes.add(type(error).__name__)
    assert outcomes <= {"opened", "NeedsRepairError"}
