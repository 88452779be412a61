"""Leases: they end with their process, whatever ends it, and no listing misses one that counts."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from casstore import leases
from casstore.errors import BusyError, UnfitFileSystemError
from casstore.leases import Lease, exclusive, open_leases, wait_for_leases
from tests.forks import ended_well, in_child


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


def test_held_until_released(directory: Path) -> None:
    one, two = Lease.take(directory), Lease.take(directory)
    assert open_leases(directory) == sorted([one.name, two.name])
    one.release()
    assert open_leases(directory) == [two.name]
    two.release()
    assert open_leases(directory) == []
    assert list(directory.iterdir()) == []


_HOLD = """
import sys
from pathlib import Path
from casstore.leases import Lease
print(Lease.take(Path(sys.argv[1])).name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_dead_processs_lease_is_gone(directory: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.stdout is not None
    name = holder.stdout.readline().strip()
    assert open_leases(directory) == [name]
    assert not wait_for_leases(directory, [name], 0.01)
    holder.kill()
    assert wait_for_leases(directory, [name], 10)
    assert (directory / name).exists()  # nobody has looked yet
    holder.communicate()
    assert open_leases(directory) == []
    assert list(directory.iterdir()) == []


def test_waiting_ends_when_the_lease_does(directory: Path) -> None:
    lease = Lease.take(directory)
    begun = time.monotonic()
    threading.Timer(0.05, lease.release).start()
    assert wait_for_leases(directory, [lease.name], 10)
    assert 0.03 < time.monotonic() - begun < 5
    assert wait_for_leases(directory, ["never-there"], 0)


def test_a_lease_unlinked_before_it_was_locked_is_taken_anew(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = leases.fcntl.flock
    listed = []

    def late(descriptor: int, operation: int) -> None:
        if not listed:
            listed.append(True)
            assert open_leases(directory) == []  # it has unlinked the file that is not locked yet
        real(descriptor, operation)

    monkeypatch.setattr(leases.fcntl, "flock", late)
    lease = Lease.take(directory)
    assert open_leases(directory) == [lease.name]
    lease.release()


def test_listing_races_with_taking(directory: Path) -> None:
    stop = threading.Event()
    wrong = []

    def take() -> None:
        while not stop.is_set():
            lease = Lease.take(directory)
            if not (directory / lease.name).exists():
                wrong.append(lease.name)
            lease.release()

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    kept = Lease.take(directory)
    seen = [kept.name in open_leases(directory) for _ in range(100)]
    stop.set()
    for thread in threads:
        thread.join()
    kept.release()
    assert all(seen)
    assert wrong == []
    assert list(directory.iterdir()) == []


def test_a_forked_child_does_not_end_its_parents_lease(directory: Path) -> None:
    lease = Lease.take(directory)
    assert ended_well(in_child(lease.release))
    assert open_leases(directory) == [lease.name]
    lease.release()


def test_a_forked_child_that_lives_on_does_not_keep_its_parents_lease_or_lock(directory: Path, tmp_path: Path) -> None:
    lock = tmp_path.with_name(f"{tmp_path.name}.lock")
    lease = Lease.take(directory)
    try:
        with exclusive(lock, 1, busy="busy"):
            child = in_child(lambda: time.sleep(60))
        lease.release()
        try:
            assert wait_for_leases(directory, [lease.name], 0)
            with exclusive(lock, 0, busy="the child has it"):
                pass
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    finally:
        lock.unlink()


def test_a_forked_child_does_not_open_its_parents_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"

    def leave(held: object) -> None:
        held.__exit__(None, None, None)  # type: ignore[attr-defined]

    held = exclusive(lock, 1, busy="busy")
    held.__enter__()
    assert ended_well(in_child(lambda: leave(held)))
    with pytest.raises(BusyError), exclusive(lock, 0, busy="busy"):
        pass
    held.__exit__(None, None, None)
    with exclusive(lock, 0, busy="busy"):
        pass


def test_one_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(10):
            with exclusive(lock, 20, busy="busy"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_busy_says_what_and_what_to_do(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "lock", 0, busy=""),
        pytest.raises(BusyError, match="somebody else") as raised,
        exclusive(tmp_path / "lock", 0.02, busy="somebody else"),
    ):
        pass
    assert raised.value.remedy is not None


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(leases.fcntl, "flock", refuse)
    with pytest.raises(UnfitFileSystemError):
        Lease.take(tmp_path)
    with pytest.raises(UnfitFileSystemError), exclusive(tmp_path / "lock", 0, busy=""):
        pass
