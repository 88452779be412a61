"""The seam: whole files or none, errors with a remedy, and a hook at every call."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from casstore import files
from casstore.errors import DiskError, FullError, NotWritableError, TooManyFilesError
from casstore.testing.faults import Failing, Recording, hooked


def test_the_hook_sees_every_call_and_is_given_back(tmp_path: Path) -> None:
    recording = Recording()
    before = files.set_hook(None)
    with hooked(recording):
        files.write_atomically(tmp_path / "a", b"data")
        files.unlink(tmp_path / "a")
    assert files.set_hook(None) is before
    assert [operation for operation, _ in recording.calls] == ["create", "write", "fsync", "rename", "fsync", "unlink"]
    assert recording.calls[3] == ("rename", str(tmp_path / "a"))
    assert recording.calls[4] == ("fsync", str(tmp_path))


@pytest.mark.parametrize("operation", ["create", "write", "fsync", "rename"])
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, FullError),
        (errno.EDQUOT, FullError),
        (errno.EROFS, NotWritableError),
        (errno.EACCES, NotWritableError),
        (errno.EPERM, NotWritableError),
        (errno.EIO, DiskError),
        (errno.EMFILE, TooManyFilesError),
        (errno.ENFILE, TooManyFilesError),
        (errno.ENXIO, OSError),
    ],
)
def test_a_write_that_fails_leaves_the_old_file_alone(
    tmp_path: Path, operation: str, number: int, expected: type[Exception]
) -> None:
    path = tmp_path / "a"
    files.write_atomically(path, b"old")
    with hooked(Failing(number, operation)), pytest.raises(expected):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_is_whole_though_the_system_takes_it_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    files.write_atomically(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


@pytest.mark.parametrize("taken", range(1, 11))
def test_parts_are_written_whole_wherever_the_system_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    monkeypatch.setattr(os, "writev", lambda descriptor, views: os.write(descriptor, b"".join(views)[:taken]))
    with (tmp_path / "a").open("wb") as file:
        files.write_parts(file.fileno(), (b"012", b"", memoryview(b"34567"), b"89"), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_two_threads_that_write_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a"
    wanted = [bytes([number]) * 200_000 for number in range(4)]

    def write(data: bytes) -> None:
        for _ in range(5):
            files.write_atomically(path, data)
            assert path.read_bytes() in wanted

    threads = [threading.Thread(target=write, args=(data,)) for data in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in wanted
    assert list(tmp_path.iterdir()) == [path]


def test_directories_are_made_durable_one_by_one(tmp_path: Path) -> None:
    recording = Recording()
    with hooked(recording):
        files.make_directory(tmp_path / "a" / "b")
        files.make_directory(tmp_path / "a" / "b")
    assert recording.calls == [
        ("mkdir", str(tmp_path / "a")),
        ("fsync", str(tmp_path)),
        ("mkdir", str(tmp_path / "a" / "b")),
        ("fsync", str(tmp_path / "a")),
    ]


@pytest.mark.parametrize("what", ["file", "link"])
def test_what_lies_in_the_way_of_a_directory_is_named(tmp_path: Path, what: str) -> None:
    in_the_way = tmp_path / "a"
    if what == "file":
        in_the_way.write_bytes(b"")
    else:
        in_the_way.symlink_to("nowhere")
    for path in (in_the_way, in_the_way / "b", in_the_way / "b" / "c"):
        with pytest.raises(NotWritableError, match="in the way"):
            files.make_directory(path)


def test_unlink(tmp_path: Path) -> None:
    files.unlink(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        files.unlink(tmp_path / "nothing", missing_ok=False)


def test_is_still(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"")
    with path.open("rb") as file:
        assert files.is_still(path, file.fileno())
        path.unlink()
        assert not files.is_still(path, file.fileno())
        path.write_bytes(b"")
        assert not files.is_still(path, file.fileno())
