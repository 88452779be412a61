"""What a version holds several times is decoded once and copied."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from casmodels import config
from casmodels.library import Store
from casstore import files
from casstore.blobs import BlobReader

CONTENT = os.urandom(300_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "config.toml").touch()
    environ = {"CASMODELS_CONFIG": str(tmp_path / "config.toml")}
    with Store(config=config.load(store=tmp_path / "store", environ=environ)) as opened:
        yield opened


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How large each blob was that was decoded."""
    sizes: list[int] = []
    stream = BlobReader.stream

    def counted(self: BlobReader, *arguments: object, **options: object) -> object:
        sizes.append(self.size_bytes)
        return stream(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(BlobReader, "stream", counted)
    return sizes


def _twins(directory: Path) -> Path:
    (directory / "sub").mkdir(parents=True)
    for name in ("a.bin", "b.bin", "sub/c.bin"):
        (directory / name).write_bytes(CONTENT)
    (directory / "b.bin").chmod(0o755)
    return directory


def _check(out: Path) -> None:
    for name, mode in [("a.bin", 0o644), ("b.bin", 0o755), ("sub/c.bin", 0o644)]:
        assert (out / name).read_bytes() == CONTENT
        assert (out / name).stat().st_mode & 0o777 == mode
    assert len({(out / name).stat().st_ino for name in ("a.bin", "b.bin", "sub/c.bin")}) == 3


def test_equal_files_are_decoded_once(store: Store, tmp_path: Path, decoded: list[int]) -> None:
    store.checkpoint("mine", _twins(tmp_path / "model"))
    store.checkout("mine", tmp_path / "out")
    _check(tmp_path / "out")
    assert decoded == [300_000]


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_that_cannot_copy_by_itself(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    def refuse(*_arguments: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    store.checkpoint("mine", _twins(tmp_path / "model"))
    store.checkout("mine", tmp_path / "out")
    _check(tmp_path / "out")


def test_a_twin_that_is_changed_meanwhile_is_not_copied(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    decoded: list[int],
) -> None:
    copy_all = files.copy_all

    def meddled(source: int, descriptor: int, size_bytes: int, path: Path) -> None:
        (tmp_path / "out" / "a.bin").write_bytes(b"x" * size_bytes)
        copy_all(source, descriptor, size_bytes, path)

    monkeypatch.setattr(files, "copy_all", meddled)
    store.checkpoint("mine", _twins(tmp_path / "model"))
    store.checkout("mine", tmp_path / "out")
    assert (tmp_path / "out" / "b.bin").read_bytes() == CONTENT
    assert len(decoded) == 3
