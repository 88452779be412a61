"""Sources: regular files only, read whole or said to have changed."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from casstore.errors import (
    ChangedWhileReadError,
    FailedError,
    InvalidInputError,
    NotFoundError,
    TooManyFilesError,
)
from casstore.sources import BytesSource, open_source


def test_ranges(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    with open_source(path) as source:
        for one in (source, BytesSource(b"0123456789")):
            assert one.size_bytes == 10
            assert one.read_at(0, 10) == b"0123456789"
            assert one.read_at(3, 2) == b"34"
            assert one.read_at(8, 5) == b"89"
            assert one.read_at(10, 5) == b""
            assert one.read_at(20, 5) == b""
            one.check_unchanged()


def test_a_system_that_gives_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, length, offset: real(descriptor, min(length, 3), offset))
    with open_source(path) as source:
        assert source.read_at(1, 8) == b"12345678"


@pytest.mark.parametrize("how", ["longer", "shorter", "touched", "overwritten"])
def test_changes_are_noticed(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(1, 1))
    with open_source(path) as source:
        source.read_at(0, 5)
        if how == "longer":
            with path.open("ab") as file:
                file.write(b"x")
        elif how == "shorter":
            os.truncate(path, 5)
        elif how == "touched":
            os.utime(path, ns=(1, 2))
        else:
            path.write_bytes(b"9876543210")
        with pytest.raises(ChangedWhileReadError):
            source.check_unchanged()


def test_what_was_cut_short_gives_less(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    with open_source(path) as source:
        os.truncate(path, 4)
        assert source.read_at(0, 10) == b"0123"


def test_a_disk_that_fails_is_an_error_with_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")

    def fail(descriptor: int, length: int, offset: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fail)
    with open_source(path) as source, pytest.raises(FailedError, match=str(path)):
        source.read_at(0, 1)


def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name in (".", "fifo", "socket"):
            with pytest.raises(InvalidInputError), open_source(tmp_path / name):
                pass
    with pytest.raises(NotFoundError), open_source(tmp_path / "nothing"):
        pass
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(InvalidInputError), open_source(tmp_path / "link"):
        pass


def test_too_many_open_files_are_not_the_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    (tmp_path / "a").touch()
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(TooManyFilesError), open_source(tmp_path / "a"):
        pass
