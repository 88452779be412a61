"""Stores: made once, opened by anybody, refused with a clear sentence."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from casstore import files
from casstore.errors import FailedError, NeedsRepairError, NewerFormatError, NotAStoreError, NotWritableError
from casstore.maintenance import rebuild as rebuilding
from casstore.maintenance.rebuild import rebuild
from casstore.store import Store
from casstore.testing.builders import GRID_BYTES, all_contents, contents, noise, put, remove, stage
from casstore.testing.faults import Killing, Recording, hooked
from tests.forks import ended_well, in_child

Opener = Callable[..., Store]
DATA = noise(1, 3 * GRID_BYTES)


def test_made_and_opened_again(root: Path) -> None:
    with Store.open(root / "deep" / "er", create=True) as store:
        assert store.path == root / "deep" / "er"
        version = put(store, "a", {"a": DATA})
    with Store.open(root / "deep" / "er") as store, store.reading() as reader:
        assert contents(reader, version) == {"a": DATA}
    with Store.open(root / "deep" / "er", create=True) as store:
        assert len(all_contents(store)) == 1


def test_what_lies_in_a_new_store(root: Path) -> None:
    Store.open(root, create=True).close()
    assert {path.name for path in root.iterdir()} == {
        "FORMAT", "commit.lock", "downloads", "index.sqlite3", "journal", "leases", "packs",
    }  # fmt: skip
    assert (root / "FORMAT").read_text() == "casmodels store\nformat 1\n"


def test_an_empty_directory_becomes_a_store_and_a_missing_one_only_when_asked(root: Path) -> None:
    with pytest.raises(NotAStoreError, match="no store"):
        Store.open(root)
    assert not root.exists()
    root.mkdir()
    with pytest.raises(NotAStoreError, match="no store"):
        Store.open(root)
    Store.open(root, create=True).close()


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("precious.txt", b"mine"),
        ("packs.txt", b""),
        ("FORMAT", b"some other tool\n"),
        ("FORMAT", b"\xff"),
        ("FORMAT", b""),
    ],
)
def test_a_directory_of_something_else(root: Path, name: str, content: bytes, create: bool) -> None:
    root.mkdir()
    (root / name).write_bytes(content)
    with pytest.raises(NotAStoreError):
        Store.open(root, create=create)
    assert [(path.name, path.read_bytes()) for path in root.iterdir()] == [(name, content)]


@pytest.mark.parametrize("create", [True, False])
def test_a_file(root: Path, create: bool) -> None:
    root.write_bytes(b"mine")
    for path in (root, root / "below"):
        with pytest.raises((NotAStoreError, NotWritableError)):
            Store.open(path, create=create)
    assert root.read_bytes() == b"mine"


def test_a_link_to_a_store_is_that_store(store: Store, root: Path) -> None:
    link = root.with_name("link")
    link.symlink_to(root.name)
    with Store.open(link) as same:
        assert same.path == root


@pytest.mark.parametrize("text", ["casmodels store\nformat 2\n", "casmodels store\nformat 1000"])
def test_a_newer_format(store: Store, root: Path, text: str) -> None:
    store.close()
    (root / "FORMAT").write_text(text)
    with pytest.raises(NewerFormatError):
        Store.open(root)


def test_packs_whose_mark_is_gone_are_never_overwritten(store: Store, root: Path) -> None:
    put(store, "a", {"a": DATA})
    store.close()
    (root / "FORMAT").unlink()
    journal = (root / "journal").read_bytes()
    for create in (True, False):
        with pytest.raises(NotAStoreError, match="FORMAT is missing"):
            Store.open(root, create=create)
    assert (root / "journal").read_bytes() == journal
    (root / "FORMAT").write_text("casmodels store\nformat 1\n")
    with Store.open(root) as again:
        assert len(all_contents(again)) == 1


def test_directories_that_a_copy_left_out_are_made(store: Store, root: Path) -> None:
    store.close()
    for name in ("leases", "packs", "downloads"):
        (root / name).rmdir()
    with Store.open(root) as again:
        put(again, "a", {"a": DATA})


def test_killed_anywhere_while_it_is_made(root: Path) -> None:
    recording = Recording()
    with hooked(recording):
        Store.open(root.with_name("other"), create=True).close()
    assert len(recording.calls) > 15
    for at in range(len(recording.calls)):
        path = root / str(at)

        def make(path: Path = path, at: int = at) -> None:
            files.set_hook(Killing(at))
            Store.open(path, create=True)

        assert os.waitstatus_to_exitcode(os.waitpid(in_child(make), 0)[1]) == -signal.SIGKILL
        if not (path / "FORMAT").exists():
            with pytest.raises(NotAStoreError, match="no store"):
                Store.open(path)
        with Store.open(path, create=True) as store:
            put(store, "a", {"a": b"x"})
        with Store.open(path) as store:
            assert len(all_contents(store)) == 1


_OPEN = """
import sys
from pathlib import Path
from casstore.store import Store
from casstore.testing.builders import put
with Store.open(Path(sys.argv[1]), create=True) as store:
    put(store, sys.argv[2], {"f": b"x"})
"""


def test_many_processes_make_it_at_once(root: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", _OPEN, str(root), f"n{number}"]) for number in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    with Store.open(root) as store:
        assert {name for name, _ in all_contents(store)} == {f"n{number}" for number in range(4)}


def test_a_forked_child_opens_it_anew(store: Store) -> None:
    version = put(store, "a", {"a": DATA})

    def work() -> None:
        with store.reading() as reader:
            assert contents(reader, version) == {"a": DATA}
        put(store, "child", {"b": b"x"})

    with store.reading():  # whatever the parent has open
        assert ended_well(in_child(work))
    put(store, "parent", {"c": b"y"})
    assert {name for name, _ in all_contents(store)} == {"a", "child", "parent"}


def test_threads_share_it(store: Store) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            version = put(store, f"n{number}", {"own": noise(number, 9000), "same": DATA})
            with store.reading() as reader:
                assert contents(reader, version)["own"] == noise(number, 9000)
            remove(store, f"n{number}", version)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert all_contents(store) == {}


def test_closing_twice_and_opening_by_use(store: Store) -> None:
    put(store, "a", {"a": DATA})
    store.close()
    store.close()
    assert len(all_contents(store)) == 1


def test_every_operation_holds_a_lease(store: Store, root: Path) -> None:
    with store.reading(), store.writing() as transaction:
        names = {path.name for path in (root / "leases").iterdir()}
        assert len(names) == 2
        assert transaction.lease in names
    with pytest.raises(LookupError), store.reading():
        raise LookupError
    assert list((root / "leases").iterdir()) == []


def open_packs() -> int:
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += link.readlink().suffix == ".pack"
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_an_idle_store_holds_no_packs_open(store: Store) -> None:
    version = put(store, "a", {"a": DATA})
    with store.reading() as reader, store.reading():
        assert contents(reader, version) == {"a": DATA}
        assert open_packs() == 1
        with store.reading():
            pass
        assert open_packs() == 1
    assert open_packs() == 0


def test_an_operation_that_a_rebuild_has_overtaken_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It began after the rebuild had looked for leases; another thread's operation finds the new index."""
    version = put(store, "a", {"a": DATA})
    with store.reading() as reader:
        monkeypatch.setattr(rebuilding, "open_leases", lambda _directory: [])
        rebuild(store.layout)
        assert len(all_contents(store)) == 1
        assert contents(reader, version) == {"a": DATA}


def test_what_is_used_after_closing_is_an_error_with_a_sentence(store: Store) -> None:
    places = store.places
    store.close()
    with pytest.raises(FailedError, match="cannot be used"):
        places.all()


def test_workers_are_set_up(root: Path) -> None:
    names: set[str] = set()
    with Store.open(
        root, create=True, workers=1, initializer=lambda: names.add(threading.current_thread().name)
    ) as store:
        put(store, "a", {"a": DATA})
    assert {name.rsplit("_", 1)[0] for name in names} == {"casstore-reader", "casstore-hasher", "casstore-coder"}


def test_without_an_index_or_a_journal(store: Store, root: Path) -> None:
    store.close()
    for name in ("index.sqlite3", "journal"):
        kept = (root / name).read_bytes()
        (root / name).unlink()
        with pytest.raises(NeedsRepairError, match="missing"):
            Store.open(root)
        (root / name).write_bytes(kept)
    Store.open(root).close()


def as_nobody(work: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        work()

    return run


def test_somebody_elses_store() -> None:
    """One that may be read but not written, one that may not even be looked into, and a place that may not be made."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with Store.open(directory / "store", create=True) as store:
            put(store, "a", {"a": DATA})
        directory.chmod(0o755)
        secret = directory / "secret"
        secret.mkdir(0o700)
        for path in [directory / "store", *(directory / "store").rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)

        def work() -> None:
            for path, create in ((directory / "store", False), (directory / "new", True), (secret / "store", True)):
                if os.geteuid() == os.stat(secret).st_uid and path.parent == secret:  # noqa: PTH116
                    continue
                with pytest.raises(NotWritableError):
                    put(Store.open(path, create=create), "b", {"b": DATA})

        directory.chmod(0o555)
        try:
            assert ended_well(in_child(as_nobody(work)))
        finally:
            for path in [directory, directory / "store", *(directory / "store").rglob("*")]:
                path.chmod(0o755)


def test_an_operation_that_is_interrupted_leaves_the_store_usable(store: Store) -> None:
    with contextlib.suppress(KeyboardInterrupt), store.writing() as transaction:
        stage(transaction, "a", {"a": DATA})
        raise KeyboardInterrupt
    put(store, "b", {"b": DATA})
    assert len(all_contents(store)) == 1
