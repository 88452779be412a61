from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from casmodels.views import clones, materialise
from casmodels.views.clones import can_clone
from casmodels.views.materialise import LinkMode

WEIGHTS = os.urandom(300_000)
MODEL: dict[str, Any] = {"config.json": b"{}", "model.bin": WEIGHTS}


@pytest.fixture
def cloning(tmp_path: Path) -> Path:
    """A directory where reflinks work."""
    if not can_clone(tmp_path):
        pytest.skip("the file system of the test's directory makes no reflinks (XFS, Btrfs and APFS do)")
    return tmp_path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The labels of the files that were decoded."""
    labels: list[str] = []
    real = materialise.Materialiser._decoded

    def watched(self: Any, wanted: Any, *args: Any) -> Any:
        labels.append(wanted.label)
        return real(self, wanted, *args)

    monkeypatch.setattr(materialise.Materialiser, "_decoded", watched)
    return labels


def blob_of(snapshot: Any, path: str) -> Path:
    return Path(snapshot.path / path).resolve()


def test_a_second_copy_is_a_reflink(shelf: Any, cloning: Path, decoded: list[str]) -> None:
    version = shelf.put("mine", MODEL)
    shelf.checkout(version, cloning / "out")
    assert len(decoded) == 2
    added = shelf.add(shelf.view(cloning / "home"), ("mine", version))
    assert len(decoded) == 2
    assert added.link is LinkMode.REFLINK
    blob = blob_of(added.snapshots[0], "model.bin")
    assert blob.read_bytes() == WEIGHTS
    assert blob.stat().st_ino != (cloning / "out/model.bin").stat().st_ino
    (cloning / "out/model.bin").write_bytes(b"edited")
    assert blob.read_bytes() == WEIGHTS
    assert shelf.add(shelf.view(cloning / "home"), ("mine", version)).written_bytes == 0


def test_an_edited_copy_is_no_source(shelf: Any, cloning: Path, decoded: list[str]) -> None:
    version = shelf.put("mine", MODEL)
    shelf.checkout(version, cloning / "out")
    with (cloning / "out/model.bin").open("r+b") as file:
        file.write(b"edited")
    (cloning / "out/config.json").unlink()
    added = shelf.add(shelf.view(cloning / "home"), ("mine", version))
    assert blob_of(added.snapshots[0], "model.bin").read_bytes() == WEIGHTS
    assert added.link is LinkMode.COPY


def test_copy_always_decodes(shelf: Any, cloning: Path, decoded: list[str]) -> None:
    version = shelf.put("mine", MODEL)
    shelf.checkout(version, cloning / "out")
    added = shelf.add(shelf.view(cloning / "home"), ("mine", version), link=LinkMode.COPY)
    assert added.link is LinkMode.COPY
    assert len(decoded) == 4


def test_without_reflinks_it_is_decoded(
    shelf: Any, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clones, "_FICLONE", 0)
    version = shelf.put("mine", MODEL)
    shelf.checkout(version, tmp_path / "out")
    added = shelf.add(shelf.view(tmp_path / "home"), ("mine", version), link=LinkMode.REFLINK)
    assert added.link is LinkMode.COPY
    assert len(decoded) == 4
    assert [path for path in (tmp_path / "home").rglob("*") if path.name.startswith(".casmodels")] == []


def test_a_clone_that_fails_late_is_decoded_instead(
    shelf: Any, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(materialise, "can_clone", lambda _: True)
    monkeypatch.setattr(clones, "_FICLONE", 0)
    version = shelf.put("mine", MODEL)
    shelf.checkout(version, tmp_path / "out")
    added = shelf.add(shelf.view(tmp_path / "home"), ("mine", version))
    assert added.link is LinkMode.COPY
    assert blob_of(added.snapshots[0], "model.bin").read_bytes() == WEIGHTS


def test_hard_links_join_views_only_when_asked_and_are_read_only(
    shelf: Any, tmp_path: Path, decoded: list[str]
) -> None:
    version = shelf.put("mine", MODEL)
    shelf.checkout(version, tmp_path / "out")
    first = shelf.add(shelf.view(tmp_path / "one"), ("mine", version), link=LinkMode.HARDLINK)
    second = shelf.add(shelf.view(tmp_path / "two"), ("mine", version), link=LinkMode.HARDLINK)
    one, two = (blob_of(added.snapshots[0], "model.bin") for added in (first, second))
    assert one.stat().st_ino == two.stat().st_ino != (tmp_path / "out/model.bin").stat().st_ino
    assert stat.S_IMODE(one.stat().st_mode) == 0o444
    assert first.link is not LinkMode.HARDLINK
    assert second.link is LinkMode.HARDLINK
    assert [path for path in (tmp_path / "two").rglob("*") if path.name.startswith(".casmodels")] == []
    third = shelf.add(shelf.view(tmp_path / "three"), ("mine", version))
    assert blob_of(third.snapshots[0], "model.bin").stat().st_nlink == 1


def test_a_hard_linked_view_is_verified_before_it_is_trusted(shelf: Any, tmp_path: Path) -> None:
    version = shelf.put("mine", MODEL)
    views = [shelf.view(tmp_path / name) for name in ("one", "two")]
    added = [shelf.add(view, ("mine", version), link=LinkMode.HARDLINK) for view in views]
    blob = blob_of(added[0].snapshots[0], "model.bin")
    status = blob.stat()
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.write(b"spoilt")
    blob.chmod(0o444)
    os.utime(blob, ns=(status.st_atime_ns, status.st_mtime_ns))
    third = shelf.add(shelf.view(tmp_path / "three"), ("mine", version), link=LinkMode.HARDLINK)
    assert blob_of(third.snapshots[0], "model.bin").read_bytes() == WEIGHTS
    for view in views:
        again = shelf.add(view, ("mine", version))
        assert blob_of(again.snapshots[0], "model.bin").read_bytes() == WEIGHTS


def test_too_many_links_fall_back(
    shelf: Any, tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(31, "Too many links")

    version = shelf.put("mine", MODEL)
    shelf.add(shelf.view(tmp_path / "one"), ("mine", version))
    monkeypatch.setattr(os, "link", refuse)
    added = shelf.add(shelf.view(tmp_path / "two"), ("mine", version), link=LinkMode.HARDLINK)
    assert added.link is not LinkMode.HARDLINK
    assert stat.S_IMODE(blob_of(added.snapshots[0], "model.bin").stat().st_mode) == 0o444
