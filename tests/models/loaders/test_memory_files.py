"""Memory files: there while they are open, gone afterwards, with and without memfd."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from casmodels.library import Store
from casmodels.loaders.memory_files import MemoryFiles
from casmodels.runtime import memory_directories


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the temporary directories are made."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
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


def test_thousands_of_small_files_need_few_descriptors(temporary: Path) -> None:
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before, 512), most))
    try:
        with MemoryFiles() as files:
            paths = [files.add(f"deep/{number}", [b"%d" % number, b"!"]) for number in range(1500)]
            large = files.add("large", [b"x" * (1 << 20), b"y"])
            assert [path.read_bytes() for path in paths] == [b"%d!" % number for number in range(1500)]
            assert large.read_bytes() == b"x" * (1 << 20) + b"y"
            assert large.readlink().is_relative_to("/proc")
            small = paths[-1].readlink()
            assert small.is_relative_to("/dev/shm")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
    assert not small.exists()
    assert list(temporary.iterdir()) == []
    assert open_files() == []


def test_small_files_together_take_no_more_than_they_may(temporary: Path) -> None:
    with MemoryFiles() as files:
        paths = [files.add(str(number), [b"x" * (1 << 20)]) for number in range(300)]
        sizes = [path.stat().st_size for path in paths if path.readlink().is_relative_to("/dev/shm")]
    assert sum(sizes) == 32 << 20


KILLED = """
import os, signal
from casmodels.loaders.memory_files import MemoryFiles
linked, real = MemoryFiles(), MemoryFiles(real_paths=True)
linked.add("a/b", [b"1234"])
real.add("c", [b"1234"])
print(linked.path, real.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed() -> list[Path]:
    """What a process leaves that is killed while it has memory files open."""
    done = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    return [Path(path) for path in done.stdout.split()]


def test_what_a_kill_leaves_goes_with_the_next(temporary: Path) -> None:
    left = killed()
    assert [path.is_dir() for path in left] == [True, True]
    with MemoryFiles() as files:
        path = files.add("mine", [b"mine"])
        assert [path.exists() for path in left] == [False, False]
        with MemoryFiles():
            assert path.read_bytes() == b"mine"  # whose process lives


def test_cleanup_removes_what_a_kill_left_and_nothing_else(store: Store, temporary: Path) -> None:
    left = killed()
    others = [temporary / name for name in ("casmodels-mine", "casmodels-memory-mine", "casmodels-memory-abcdefgh")]
    for other in others:
        other.mkdir()
        (other / "file").write_bytes(b"mine")
    outside = temporary / "outside"
    outside.mkdir(mode=0o700)
    (outside / "file").write_bytes(b"mine")
    (temporary / "casmodels-memory-link____").symlink_to(outside)
    (temporary / "casmodels-memory-file____").write_bytes(b"mine")
    before = sorted(temporary.rglob("*"))
    told = store.cleanup(dry_run=True)
    assert (told.removed, told.reclaimed_bytes) == (2, 4)
    assert sorted(temporary.rglob("*")) == before
    with memory_directories.memory_directory() as alive:
        done = store.cleanup()
        assert alive.is_dir()
    assert (done.removed, done.reclaimed_bytes) == (2, 4)
    assert [path.exists() for path in left] == [False, False]
    assert sorted(temporary.rglob("*")) == [path for path in before if not path.is_relative_to(left[0])]
