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
from casstore.digests import sha256_digest
from casstore.errors import DamagedError
from casstore.store import Store as Engine
from casstore.testing.builders import version_key
from casstore.trees import Entry, Tree
from casstore.versions import Version

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


def test_a_tree_that_gives_one_blob_two_sizes_is_damaged(tmp_path: Path, store: Store) -> None:
    digest = sha256_digest(CONTENT)
    tree = Tree((Entry.file("a.bin", digest, len(CONTENT)), Entry.file("b.bin", digest, len(CONTENT) - 1)))
    with Engine.open(tmp_path / "store", create=True) as engine, engine.writing() as tx:
        tx.add_bytes(CONTENT, "a.bin")
        version = tx.add_version(Version(tx.add_tree(tree), None, "test:", 1))
        tx.set_ref(version_key("mine", version), version)
        tx.commit()
    with pytest.raises(DamagedError, match=r"b\.bin"):
        store.checkout("mine", tmp_path / "out")
    assert not (tmp_path / "out" / "b.bin").exists()
