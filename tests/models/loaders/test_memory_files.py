"""Memory files: there while they are open, gone afterwards, with and without memfd."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import pytest

from casmodels.loaders.memory_files import MemoryFiles


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the temporary directories are made."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def open_files() -> list[str]:
    """What this process has open of those."""
    descriptors = (Path(f"/proc/self/fd/{number}") for number in range(256))
    links = [str(descriptor.readlink()) for descriptor in descriptors if descriptor.is_symlink()]
    return [link for link in links if "casmodels" in link]


@pytest.mark.parametrize("memory", [True, False])
def test_they_have_names_and_go_again(temporary: Path, monkeypatch: pytest.MonkeyPatch, memory: bool) -> None:
    if not memory:
        monkeypatch.delattr(os, "memfd_create")
    blocks = [bytes([number]) * 1000 for number in range(5)]
    with MemoryFiles() as files:
        path = files.add("deep/er/model.keras", (memoryview(block) for block in blocks))
        assert path == files.path / "deep/er/model.keras"
        assert path.read_bytes() == b"".join(blocks)
        assert path.is_symlink() is memory
        assert sum(each.stat().st_blocks for each in temporary.rglob("*") if each.is_file() and not memory) == (
            0 if memory else 16
        )
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    assert list(temporary.iterdir()) == []
    assert mapped[:] == b"".join(blocks)
    mapped.close()
    assert open_files() == []


def test_real_paths_lie_in_memory_too(temporary: Path) -> None:
    with MemoryFiles(real_paths=True) as files:
        path = files.add("m.h5", [b"bytes"])
        assert path.resolve() == path
        assert path.read_bytes() == b"bytes"
        assert path.is_relative_to("/dev/shm") or path.is_relative_to(temporary)
    assert not path.exists()
    assert not files.path.exists()


def test_a_source_that_fails_leaves_nothing(temporary: Path) -> None:
    with pytest.raises(ZeroDivisionError), MemoryFiles() as files:
        files.add("a", (b"x" * (1 // number) for number in (1, 0)))
    assert list(temporary.iterdir()) == []
    assert open_files() == []
