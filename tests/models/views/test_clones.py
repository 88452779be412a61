"""Whether a file system has links is not to be taken from an error of another kind."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from casmodels.views.clones import can_clone, can_link
from casstore.errors import DiskError, FullError


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it has a name")
def test_what_a_reflink_is_tried_with_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    seen = []

    def look(*_arguments: object) -> None:
        seen.append(list(tmp_path.iterdir()))

    monkeypatch.setattr(fcntl, "ioctl", look)
    assert can_clone(tmp_path)
    assert seen == [[]]


def test_links_are_tried(tmp_path: Path) -> None:
    assert can_link(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "answer"), [(errno.EPERM, False), (errno.EOPNOTSUPP, False), (errno.EROFS, True)])
def test_what_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, answer: bool) -> None:
    _refuse(monkeypatch, number)
    assert can_link(tmp_path) is answer


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, FullError), (errno.EIO, DiskError)])
def test_a_disk_that_is_full_or_fails_may_have_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    _refuse(monkeypatch, number)
    with pytest.raises(expected):
        can_link(tmp_path)


def _refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "symlink_to", refuse)
