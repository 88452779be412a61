"""How much memory is free, within the limit of a container too."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from casmodels.errors import NoRoomError
from casmodels.loaders import room


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container that may use 300 MiB and uses 250, 100 of these for files."""
    (tmp_path / "memory.max").write_text(f"{300 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{250 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {100 << 20}\n")
    monkeypatch.setattr(room, "_GROUP", tmp_path)
    return tmp_path


def test_the_limit_of_a_container_counts(group: Path) -> None:
    assert room.free_bytes("cpu") == 150 << 20
    room.check("it", 80 << 20, "cpu", 1)
    with pytest.raises(
        NoRoomError, match=r"it does not fit: to load it takes 224\.0 MiB of memory, and 150\.0 MiB are"
    ):
        room.check("it", 80 << 20, "cpu", 2)


@pytest.mark.parametrize(("file", "text"), [("memory.max", "max\n"), ("memory.stat", ""), ("memory.current", None)])
def test_without_a_limit_the_machine_counts(group: Path, file: str, text: str | None) -> None:
    (group / file).unlink()
    if text is not None:
        (group / file).write_text(text)
    assert room.free_bytes("cpu") == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_of_a_gpu_nobody_knows_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert room.free_bytes("cuda:0") is None
