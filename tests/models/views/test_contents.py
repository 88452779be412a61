"""What is told of a file by reading it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from casmodels.views.contents import read_digest
from casstore.digests import sha256_digest
from casstore.errors import TooManyFilesError


def test_too_many_open_files_say_nothing_about_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a checkout would take what it wrote for the user's own."""
    path = tmp_path / "a"
    path.write_bytes(b"a")
    assert read_digest(path) == sha256_digest(b"a")
    number = errno.EMFILE

    def refuse(*_arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(TooManyFilesError):
        read_digest(path)
    number = errno.EIO
    assert read_digest(path) is None
