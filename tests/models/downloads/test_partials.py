"""Partial files across processes: kills, and two at once."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from casmodels.downloads import Download, Downloader, Location, list_partials, remove_partials
from casmodels.downloads.partials import Partial
from casstore.digests import sha256_digest
from tests.hub import FakeHub, Fault

DATA = random.Random(11).randbytes(4_000_000)
PROGRAM = """
import sys
from pathlib import Path
from casmodels.downloads import Download, Downloader, Location
from casstore.digests import Digest
url, directory, expected = sys.argv[1:]
digest = Digest.parse(expected) if expected else None
with Downloader(Path(directory)) as downloader:
    downloaded = downloader.fetch(Download("m", "key", (Location(url),), expected=digest))
    print(downloaded.sha256, downloaded.downloaded_bytes, flush=True)
    downloaded.discard()
"""


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.files["/m"] = DATA
        yield hub


def start(hub: FakeHub, directory: Path, expected: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, hub.url + "/m", str(directory), expected],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, size_bytes: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if path.exists() and path.stat().st_size >= size_bytes:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not grow")


@pytest.mark.parametrize("expected", ["", str(sha256_digest(DATA))])
def test_a_kill_costs_nothing_that_had_come(hub: FakeHub, tmp_path: Path, expected: str) -> None:
    hub.fault("/m", Fault(trickle=(100_000, 0.02)))
    part = tmp_path / "key.part"
    kept = 0
    for megabyte in (1, 2):
        process = start(hub, tmp_path, expected)
        wait_for(part, megabyte * 1_000_000)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert part.stat().st_size > kept
        kept = part.stat().st_size
        assert part.read_bytes() == DATA[:kept]
    hub.heal()
    process = start(hub, tmp_path, expected)
    output, _ = process.communicate(timeout=20)
    digest, downloaded_bytes = output.split()
    assert digest == str(sha256_digest(DATA))
    assert int(downloaded_bytes) == len(DATA) - kept
    assert [bool(seen.range) for seen in hub.seen] == [False, True, True]
    assert list(tmp_path.iterdir()) == []


def test_two_processes_at_once_do_not_write_over_each_other(hub: FakeHub, tmp_path: Path) -> None:
    hub.fault("/m", Fault(trickle=(500_000, 0.02)))
    both = [start(hub, tmp_path, str(sha256_digest(DATA))) for _ in range(2)]
    outputs = [process.communicate(timeout=30)[0] for process in both]
    assert [output.split() for output in outputs] == [[str(sha256_digest(DATA)), str(len(DATA))]] * 2
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_was_unlinked_before_it_was_locked_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    unlinked = []

    def flock(descriptor: int, operation: int) -> None:
        if not unlinked:
            unlinked.append((tmp_path / "key.part").unlink())
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    partial = Partial.hold(tmp_path, Download("m", "key", (Location("http://127.0.0.1/"),)), lambda _: False)
    partial.append(b"data")
    assert (tmp_path / "key.part").read_bytes() == b"data"
    partial.let_go(remove=True)


def leave(hub: FakeHub, directory: Path) -> None:
    with Downloader(directory) as downloader:
        downloaded = downloader.fetch(Download("m", "key", (Location(hub.url + "/m"),), len(DATA)))
        assert downloaded is not None
        downloaded.release()


def test_only_what_nobody_holds_is_removed(hub: FakeHub, tmp_path: Path) -> None:
    leave(hub, tmp_path)
    (tmp_path / "theirs.txt").write_bytes(b"")
    held = Partial.hold(tmp_path, Download("o", "other", (Location("http://127.0.0.1/"),)), lambda _: True)
    assert [partial.path.name for partial in list_partials(tmp_path)] == ["key.part"]
    (removed,) = remove_partials(tmp_path)
    assert removed.size_bytes == len(DATA)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.part", "theirs.txt"]
    held.let_go(remove=True)
    held.let_go(remove=True)
    assert list_partials(tmp_path / "nowhere") == []


@pytest.mark.parametrize("sidecar", [b"", b"{", b"[]", b'"x"', b"{}", b"\xff", b'{"format": 2}', None])
def test_a_sidecar_that_cannot_be_read_means_starting_over(hub: FakeHub, tmp_path: Path, sidecar: bytes | None) -> None:
    leave(hub, tmp_path)
    path = tmp_path / "key.part.json"
    if sidecar is None:
        path.unlink()
    else:
        path.write_bytes(sidecar)
    hub.forget()
    leave(hub, tmp_path)
    assert hub.seen[0].range is None
    assert (tmp_path / "key.part").read_bytes() == DATA


@pytest.mark.parametrize("field", ["etag", "url_sha256", "booted_seconds"])
@pytest.mark.parametrize("value", [None, 7, ["x"], {}])
def test_a_sidecar_with_strange_fields_is_not_believed(hub: FakeHub, tmp_path: Path, field: str, value: object) -> None:
    leave(hub, tmp_path)
    path = tmp_path / "key.part.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    hub.forget()
    leave(hub, tmp_path)
    assert hub.seen[0].range is None


def test_a_part_that_is_longer_than_the_file_starts_over(hub: FakeHub, tmp_path: Path) -> None:
    leave(hub, tmp_path)
    with (tmp_path / "key.part").open("ab") as part:
        part.write(b"more")
    leave(hub, tmp_path)
    assert (tmp_path / "key.part").read_bytes() == DATA


def test_a_link_in_the_place_of_a_part_is_not_followed(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "partials").mkdir()
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "partials/key.part").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        leave(hub, tmp_path / "partials")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_full_disk_is_told_and_keeps_what_came(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from casstore.errors import FullError

    write = os.write
    room = [1_000_000]

    def full(descriptor: int, data: bytes | memoryview) -> int:
        if len(data) > room[0]:
            raise OSError(28, "No space left on device")
        room[0] -= len(data)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(FullError):
        leave(hub, tmp_path)
    monkeypatch.undo()
    kept = (tmp_path / "key.part").stat().st_size
    assert kept > 0
    assert (tmp_path / "key.part").read_bytes() == DATA[:kept]
    leave(hub, tmp_path)
    assert (tmp_path / "key.part").read_bytes() == DATA
