"""Transactions: all or nothing, each chunk once, memory bounded, and every failure leaves the store as it was."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from casstore import pipeline
from casstore.digests import blake3_digest, git_blob_digest, sha256_digest
from casstore.engine import Settings
from casstore.errors import (
    ChangedWhileReadError,
    DigestMismatchError,
    FailedError,
    FullError,
    InvalidInputError,
    NotFoundError,
    NotWritableError,
)
from casstore.frames import FrameKind
from casstore.maintenance import gc
from casstore.maintenance.verify import check
from casstore.packs import list_packs, pack_path, read_frames
from casstore.pipeline import CodedChunk
from casstore.refs import RefKey, RefKind
from casstore.store import Store
from casstore.testing.builders import (
    GRID_BYTES,
    all_contents,
    contents,
    grid,
    noise,
    put,
    stage,
    version_key,
)
from casstore.testing.faults import Failing, Recording, hooked
from casstore.trees import Entry, Tree
from casstore.versions import Version
from tests.forks import ended_well, in_child

Opener = Callable[..., Store]
DATA = noise(1, 5 * GRID_BYTES + 100)


def sound(store: Store) -> bool:
    with store.reading():
        checked = check(store.engine, data=True)
    return not checked.findings and not checked.broken


def chunks_in_packs(store: Store) -> list[bytes]:
    return [
        placed.header.digest
        for pack_id in list_packs(store.layout.packs)
        for placed in read_frames(pack_path(store.layout.packs, pack_id))
        if placed.header.kind is FrameKind.CHUNK
    ]


def test_what_was_put_in_comes_out(store: Store) -> None:
    files = {"a": DATA, "dir/b": b"", "c": b"x", "d": bytes(100_000), "ä \n": DATA[:5000]}
    version = put(store, "name", files)
    with store.reading() as reader:
        assert contents(reader, version) == files
        for data in files.values():
            info = reader.find_blob(sha256_digest(data))
            assert info is not None
            assert (info.size_bytes, info.git) == (len(data), git_blob_digest(data))
            assert reader.find_blob(git_blob_digest(data)) == info
    assert sound(store)


def test_files_are_streamed(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    progress: list[int] = []
    with store.writing() as transaction:
        stored = transaction.add_file(path, "name", sha256_digest(DATA), progress.append)
        assert stored.info.sha256 == sha256_digest(DATA)
        assert stored.added_bytes > len(DATA)
        assert transaction.add_file(path, expect=git_blob_digest(DATA)).added_bytes == 0
    assert sum(progress) == len(DATA)
    assert len(progress) == 6


def test_the_finder_is_told_the_name(tmp_path: Path) -> None:
    names: list[str] = []
    with Store.open(tmp_path / "s", create=True, finder=lambda name, _source: names.append(name) or ()) as store:
        (tmp_path / "on-disk").write_bytes(b"x")
        with store.writing() as transaction:
            transaction.add_bytes(b"1", "memory")
            transaction.add_file(tmp_path / "on-disk")
            transaction.add_file(tmp_path / "on-disk", "given")
    assert names == ["memory", "on-disk", "given"]


def test_nothing_counts_before_the_commit(store: Store, opened: Opener) -> None:
    other = opened()
    with store.writing() as transaction:
        version = stage(transaction, "a", {"a": DATA})
        assert transaction.find_blob(sha256_digest(DATA)) is not None
        with other.reading() as reader:
            assert reader.find_blob(sha256_digest(DATA)) is None
            assert reader.refs() == []
            assert reader.versions_with_prefix(version.hex) == []
        transaction.commit()
        with other.reading() as reader:
            assert contents(reader, version) == {"a": DATA}


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, None])
def test_what_is_not_committed_is_dropped(
    store: Store, small_packs: Store, root: Path, error: type[BaseException] | None
) -> None:
    def work() -> None:
        with small_packs.writing() as transaction:
            stage(transaction, "a", {"a": DATA, "b": noise(2, 20_000)})
            if error is not None:
                raise error

    with pytest.raises(error) if error is not None else nullcontext():
        work()
    assert all_contents(store) == {}
    assert not list((root / "packs").glob("*.tmp"))
    known = store.engine.ledger.rows.pack_ids()
    assert set(list_packs(root / "packs")) == known  # entered on the way, and gc's
    assert put(store, "a", {"a": DATA})
    assert sound(store)


def test_a_chunk_is_stored_once(store: Store) -> None:
    chunk = noise(7, GRID_BYTES)
    with store.writing() as transaction:
        transaction.add_bytes(chunk * 50, "a")
        transaction.add_bytes(chunk * 3, "b")
        transaction.commit()
        transaction.add_bytes(chunk * 4, "c")
        transaction.commit()
    with store.writing() as transaction:
        assert transaction.add_bytes(chunk, "d").added_bytes > 0  # a recipe
        assert transaction.add_bytes(chunk * 50, "e").added_bytes == 0
        transaction.commit()
    assert len(chunks_in_packs(store)) == 1


def test_the_same_content_in_another_file_costs_a_recipe(store: Store) -> None:
    put(store, "a", {"a": DATA})
    with store.writing() as transaction:
        stored = transaction.add_bytes(DATA + b"tail", "b")
    assert GRID_BYTES / 40 < stored.added_bytes < GRID_BYTES


def test_packs_are_entered_as_they_fill(small_packs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    most_pending = 0
    with small_packs.writing() as transaction:
        for number in range(60):
            transaction.add_bytes(noise(number, 3000), str(number))
            most_pending = max(most_pending, len(transaction._pending))
            assert len(transaction._sealing) <= 2
        assert len(small_packs.engine.ledger.rows.pack_ids()) >= 10
        # Two frames for each, some six of them in a pack; one pack being filled, one sealed, one entered.
        assert most_pending < 30
    assert len(small_packs.engine.ledger.refs.all()) == 0


def test_several_commits_in_one_transaction(small_packs: Store, opened: Opener) -> None:
    with small_packs.writing() as transaction:
        versions = []
        for number in range(4):
            versions.append(stage(transaction, "a", {"f": noise(number, 9000), "same": DATA}, created_ns=number))
            transaction.commit()
            transaction.commit()
    found = all_contents(opened())
    assert {hex_id for _, hex_id in found} == {version.hex for version in versions}
    assert sound(small_packs)


def test_what_is_withdrawn_is_neither_protected_nor_counted(small_packs: Store, opened: Opener) -> None:
    with small_packs.writing() as transaction:
        transaction.keep(transaction.add_bytes(noise(2, GRID_BYTES), "kept").info)
        transaction.commit()
        assert len(transaction.refs(RefKind.PARTIAL)) == 1
        transaction.keep(transaction.add_bytes(noise(3, 3 * GRID_BYTES), "not committed").info)
        transaction.withdraw()
        assert transaction.refs(RefKind.PARTIAL) == []
        transaction.withdraw()
    assert sound(small_packs)
    gc.collect(small_packs.engine)
    assert chunks_in_packs(small_packs) == []
    with opened().reading() as reader:
        assert reader.refs() == []


def test_a_commit_of_nothing_writes_nothing(store: Store) -> None:
    recording = Recording()
    journal = (store.path / "journal").read_bytes()
    with hooked(recording), store.writing() as transaction:
        transaction.commit()
        transaction.set_ref(RefKey(RefKind.TAG, "a", "b"), None)
        transaction.commit()
    assert [operation for operation, _ in recording.calls if operation not in ("lease", "commit", "committed")] == []
    assert (store.path / "journal").read_bytes() == journal


def test_wrong_bytes_are_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with store.writing() as transaction:
        for expect in (sha256_digest(b"x"), git_blob_digest(b"x")):
            with pytest.raises(DigestMismatchError, match=str(path)) as raised:
                transaction.add_file(path, expect=expect)
            assert raised.value.expected == str(expect)
        assert transaction.find_blob(sha256_digest(DATA)) is None
        stage(transaction, "a", {"other": b"fine"})
        transaction.commit()
    with store.reading() as reader:
        assert reader.find_blob(sha256_digest(DATA)) is None
    assert list(all_contents(store).values()) == [{"other": b"fine"}]
    assert sound(store)


@pytest.mark.parametrize("change", ["grow", "shrink", "overwrite"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    os.utime(path, ns=(1, 1))

    def finder(name: str, source: object) -> list[object]:
        if name == "changing":
            if change == "grow":
                with path.open("ab") as file:
                    file.write(b"more")
            elif change == "shrink":
                os.truncate(path, GRID_BYTES)
            else:
                with path.open("r+b") as file:
                    file.write(b"other")
        return grid(name, source)  # type: ignore[arg-type, return-value]

    with Store.open(tmp_path / "s", create=True, finder=finder) as store:  # type: ignore[arg-type]
        with store.writing() as transaction:
            with pytest.raises(ChangedWhileReadError) as raised:
                transaction.add_file(path, "changing")
            assert raised.value.path == str(path)
            stored = transaction.add_file(path, "still")
            transaction.commit()
        with store.reading() as reader:
            assert b"".join(reader.open_blob(stored.info.sha256).stream()) == path.read_bytes()


def test_records_need_what_they_name(store: Store) -> None:
    missing = sha256_digest(b"missing")
    with store.writing() as transaction:
        with pytest.raises(InvalidInputError, match="not in the store"):
            transaction.add_tree(Tree.of([Entry.file("a", missing, 7)]))
        with pytest.raises(NotFoundError):
            transaction.add_version(Version(blake3_digest(b"no tree"), None, "", 1))
        tree = transaction.add_tree(Tree.of([]))
        first = transaction.add_version(Version(tree, None, "", 1))
        transaction.set_ref(version_key("a", first), first)
        transaction.commit()
    with store.writing() as transaction:
        again = transaction.add_version(Version(tree, first, "", 2))  # a tree that the store has
        transaction.set_ref(version_key("a", again), again)
        transaction.commit()
    assert len(all_contents(store)) == 2


def test_a_ref_needs_its_target(store: Store) -> None:
    version = put(store, "a", {"a": DATA})
    nobody = blake3_digest(b"nobody")
    for key in (version_key("a", nobody), RefKey(RefKind.TAG, "a", "t"), RefKey(RefKind.PARTIAL, "x", nobody.hex)):
        with store.writing() as transaction:
            transaction.set_ref(RefKey(RefKind.TAG, "a", "fine"), version)
            transaction.set_ref(key, nobody)
            with pytest.raises(NotFoundError):
                transaction.commit()
    with store.reading() as reader:
        assert [ref.key.kind for ref in reader.refs()] == [RefKind.VERSION]


@pytest.mark.parametrize(
    ("operation", "part"),
    [
        ("write", ".pack"),
        ("fsync", ".pack"),
        ("rename", ".pack"),
        ("fsync", "packs"),
        ("write", "journal"),
        ("fsync", "journal"),
    ],
)
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_a_full_disk(small_packs: Store, opened: Opener, root: Path, operation: str, part: str, skip: int) -> None:
    put(small_packs, "before", {"a": DATA})
    packs_before = len(list((root / "packs").iterdir()))
    hook = Failing(errno.ENOSPC, operation, part, skip)
    after = {**{str(number): noise(number + 2, 9000) for number in range(5)}, "b": noise(20, 30_000)}
    with hooked(hook), pytest.raises(FullError) as raised:
        put(small_packs, "after", after)
    assert raised.value.remedy is not None
    assert hook.failed
    again = opened()
    assert [name for name, _ in all_contents(again)] == ["before"]
    assert sound(again)
    known = again.engine.ledger.rows.pack_ids()
    assert len(known) >= packs_before
    # Where it is not certain that a power cut would not bring them back, packs are left to gc.
    assert set(list_packs(root / "packs")) == known or (operation, part) in (("fsync", "packs"), ("fsync", "journal"))
    assert not list((root / "packs").glob("*.tmp"))
    put(again, "after", after)
    gc.collect(again.engine)
    assert set(list_packs(root / "packs")) == again.engine.ledger.rows.pack_ids()
    assert len(all_contents(again)) == 2


def test_after_a_failure_nothing_more_goes_in(small_packs: Store) -> None:
    """A frame half written would put all later ones in the wrong place."""
    with small_packs.writing() as transaction:
        transaction.add_bytes(b"small", "a")
        with hooked(Failing(errno.ENOSPC, "write", ".pack")), pytest.raises(FullError):
            transaction.add_bytes(DATA, "b")
        for again in (lambda: transaction.add_bytes(b"more", "c"), transaction.commit):
            with pytest.raises(FailedError, match="failed before"):
                again()
    assert small_packs.engine.ledger.rows.pack_ids() == set()


def test_a_store_that_may_not_be_written(store: Store) -> None:
    with hooked(Failing(errno.EROFS)), pytest.raises(NotWritableError):
        put(store, "a", {"a": DATA})


def test_abandoning_never_hides_the_error(small_packs: Store) -> None:
    def fail(operation: str, path: str) -> None:
        if operation == "unlink":
            raise OSError(errno.EIO, "I/O error", path)

    def work() -> None:
        with small_packs.writing() as transaction:
            transaction.add_bytes(DATA, "a")
            raise LookupError

    with hooked(fail), pytest.raises(LookupError):
        work()


def test_two_threads_with_a_transaction_each(small_packs: Store) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(3):
                put(small_packs, f"n{number}", {"own": noise(number * 10 + step, 20_000), "same": DATA})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(all_contents(small_packs)) == 9
    assert sound(small_packs)


_PUT = """
import sys
from pathlib import Path
from typing import Any
from casstore.engine import Settings
from casstore.store import Store
from casstore.testing.builders import grid, noise, put
number = int(sys.argv[2])
with Store.open(Path(sys.argv[1]), create=True, finder=grid, settings=Settings(pack_bytes=10_000)) as store:
    for step in range(5):
        put(store, f"n{number}", {"own": noise(number * 10 + step, 20_000), "same": noise(99, 20_000)})
"""


def test_two_processes_on_one_store_that_neither_finds(root: Path, opened: Opener) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", _PUT, str(root), str(number)]) for number in range(2)
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    store = opened(create=False)
    found = all_contents(store)
    assert len(found) == 10
    for (name, _), files in found.items():
        assert files["same"] == noise(99, 20_000)
        assert files["own"] in [noise(int(name[1:]) * 10 + step, 20_000) for step in range(5)]
    assert sound(store)


def test_a_forked_child_leaves_the_parents_transaction_alone(small_packs: Store) -> None:
    with small_packs.writing() as transaction:
        version = stage(transaction, "a", {"a": DATA})
        assert ended_well(in_child(transaction.abandon))
        transaction.commit()
    with small_packs.reading() as reader:
        assert contents(reader, version) == {"a": DATA}


def test_memory_does_not_grow_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where it matters: bytes between the reader and the pack."""
    most, now = 0, 0
    real = pipeline.coded_chunks

    def counting(*arguments: Any) -> Iterator[CodedChunk]:
        nonlocal most
        for chunk in real(*arguments):
            yield chunk
            most = max(most, now)

    class Source:
        size_bytes = 400 * GRID_BYTES

        def read_at(self, offset: int, length: int) -> bytes:
            nonlocal now
            now = offset + length - taken[0]
            return noise(offset, length)

        def check_unchanged(self) -> None:
            pass

    taken = [0]

    def progress(length: int) -> None:
        taken[0] += length

    monkeypatch.setattr(pipeline, "coded_chunks", counting)
    settings = Settings(pack_bytes=50_000, in_flight_bytes=8 * GRID_BYTES)
    with (
        Store.open(tmp_path / "s", create=True, finder=grid, workers=2, settings=settings) as store,
        store.writing() as transaction,
    ):
        transaction._add(Source(), "a", "a", None, progress)  # type: ignore[arg-type]
    assert 0 < most <= 11 * GRID_BYTES
