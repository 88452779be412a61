from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest

import casmodels
from casstore.digests import blake3_digest, git_blob_digest
from casstore.errors import ChangedWhileReadError, InvalidInputError, NotFoundError
from casstore.sources import FileSource

DATA = random.Random(9).randbytes(9_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize(
    "checksum",
    [SHA256, f"sha256:{SHA256}", f"sha256:{SHA256.upper()}", str(blake3_digest(DATA)), str(git_blob_digest(DATA))],
)
def test_the_right_checksum_and_a_wrong_byte(model: Path, checksum: str) -> None:
    assert casmodels.verify_model_integrity(str(model), checksum) is True
    with model.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([DATA[-1] ^ 1]))
    assert casmodels.verify_model_integrity(model, checksum) is False


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert casmodels.verify_model_integrity(tmp_path / "empty", hashlib.sha256().hexdigest())


@pytest.mark.parametrize(
    "checksum", ["", "sha256:", "sha256:12", "md5:" + "0" * 32, SHA256[:-1], SHA256 + "0", "zz" * 32]
)
def test_what_is_no_checksum_is_refused(model: Path, checksum: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a digest such as"):
        casmodels.verify_model_integrity(model, checksum)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(NotFoundError, match="does not exist"):
        casmodels.verify_model_integrity(tmp_path / "none.pt", SHA256)
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(InvalidInputError, match="not a regular file"):
            casmodels.verify_model_integrity(path, SHA256)
    with pytest.raises(InvalidInputError, match="cannot be a path"):
        casmodels.verify_model_integrity("a\0b", SHA256)


def test_a_file_that_changes_meanwhile_is_neither_right_nor_wrong(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_at = FileSource.read_at

    def changing(self: FileSource, offset: int, length: int) -> bytes:
        with model.open("ab") as file:
            file.write(b"more")
        return read_at(self, offset, length)

    monkeypatch.setattr(FileSource, "read_at", changing)
    with pytest.raises(ChangedWhileReadError):
        casmodels.verify_model_integrity(model, SHA256)
