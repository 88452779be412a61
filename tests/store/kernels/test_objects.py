"""Compiled loops between processes: kept, found again without Numba, and never trusted blindly."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from casstore import kernels
from casstore.kernels import building, compiled, native, objects
from casstore.kernels.compiled import PLANES, Loop, Loops


def add(numbers: Any, more: int, sums: Any) -> Any:
    for i in range(numbers.size):
        sums[i] = numbers[i] + more
    return numbers.size


ADD = Loop(add, ("const int64[]", "int64", "int64[]"), "int64")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where objects are kept in this test."""
    monkeypatch.setattr(objects, "_places", lambda: iter([tmp_path]))
    return tmp_path


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The entries of the loops that were compiled."""
    names: list[str] = []
    real = building.build

    def build(entry: str, loop: Loop) -> bytes:
        names.append(entry)
        return real(entry, loop)

    monkeypatch.setattr(building, "build", build)
    return names


def works(loop: compiled.Kernel) -> bool:
    numbers, sums = np.arange(5), np.zeros(5, np.int64)
    return loop(numbers, 7, sums) == 5 and sums.tolist() == [7, 8, 9, 10, 11]


def test_a_loop_is_compiled_once(place: Path, built: list[str]) -> None:
    assert works(objects.load("add", ADD))
    assert works(objects.load("add", ADD))
    assert built == [file.stem for file in place.iterdir()]


def test_another_loop_of_the_same_name_is_another_object(place: Path, built: list[str]) -> None:
    changed = Loop(add, ("const int32[]", "int64", "int64[]"), "int64")
    assert works(objects.load("add", ADD))
    assert objects.load("add", changed)(np.arange(5, dtype=np.int32), 1, np.zeros(5, np.int64)) == 5
    assert len(set(built)) == 2


@pytest.mark.parametrize("length", [0, 10, 32, 100])
def test_an_object_that_was_cut_is_compiled_anew(place: Path, built: list[str], length: int) -> None:
    objects.load("add", ADD)
    (kept,) = place.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:length])
    assert works(objects.load("add", ADD))
    assert len(built) == 2
    assert kept.read_bytes()[:32] != whole[:length][:32] or kept.stat().st_size == len(whole)


def test_every_damaged_byte_is_noticed(place: Path) -> None:
    objects.load("add", ADD)
    (kept,) = place.iterdir()
    whole = kept.read_bytes()
    for position in range(0, len(whole), 97):
        kept.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert objects._kept(kept.name) is None


def test_the_second_place_serves_where_the_first_cannot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    second = tmp_path / "second" / "place"
    monkeypatch.setattr(objects, "_places", lambda: iter([tmp_path / "file" / "first", second]))
    assert works(objects.load("add", ADD))
    assert len(list(second.iterdir())) == 1


def test_without_any_place_a_process_compiles_for_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(objects, "_places", lambda: iter([tmp_path / "file" / "first"]))
    assert works(objects.load("add", ADD))


def test_a_full_disk_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert works(objects.load("add", ADD))
    assert list(place.iterdir()) == []


def test_arrays_must_be_those_of_the_loop(place: Path) -> None:
    loop = objects.load("add", ADD)
    sums = np.zeros(5, np.int64)
    read_only = np.zeros(5, np.int64)
    read_only.flags.writeable = False
    for numbers, into in ((np.arange(5.0), sums), (np.arange(10)[::2], sums), (np.arange(5), read_only)):
        with pytest.raises(TypeError):
            loop(numbers, 1, into)
    assert loop(read_only, 1, sums) == 5


def takes_memory(count: Any) -> Any:
    return np.empty(count, np.int64).sum()


def raises(count: Any) -> Any:
    if count < 0:
        raise ValueError("negative")
    return count


@pytest.mark.parametrize("source", [takes_memory, raises])
def test_a_loop_that_needs_more_than_itself_is_none(place: Path, source: compiled.Kernel) -> None:
    with pytest.raises(building.NotSelfContainedError):
        building.build("needy", Loop(source, ("int64",), "int64"))
    some = Loops(0)
    some.add("needy", source, "int64", result="int64")
    assert some.compile("needy") is None


@pytest.mark.parametrize("failure", [ImportError("no numba"), RuntimeError("no target"), OSError(28, "full")])
def test_whatever_the_compiler_raises_is_no_error(
    place: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_: object) -> bytes:
        raise failure

    monkeypatch.setattr(building, "build", fail)
    assert PLANES.compile("split4") is None


ROUND_TRIP = """
import sys
import numpy
from casstore import kernels
from casstore.kernels import objects
from casstore.kernels.compiled import PLANES
from pathlib import Path
if len(sys.argv) > 1:
    objects._places = lambda: iter([Path(sys.argv[1])])
PLANES.pays_after_bytes = 0
words = numpy.arange(100000, dtype=numpy.uint32) * numpy.uint32(2654435761)
planes = list(numpy.empty((4, words.size), numpy.uint8))
kernels.split(words, planes)
joined = numpy.zeros_like(words)
kernels.join(planes, joined)
assert (joined == words).all()
print([PLANES._compiled[name] is not None for name in ("split4", "join4")], "numba" in sys.modules)
"""


def python(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ROUND_TRIP, *arguments],
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )


def test_two_processes_may_compile_at_once_and_a_third_needs_no_numba(tmp_path: Path) -> None:
    both = [python(str(tmp_path)) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == ["[True, True] True"] * 2
    assert len(list(tmp_path.iterdir())) == 2
    assert python(str(tmp_path)).communicate()[0].strip() == "[True, True] False"


def test_sources_that_cannot_be_read_mean_numpy(tmp_path: Path) -> None:
    package = Path(kernels.__file__).parent
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for module in ("__init__", "buffers"):
            zipped.write(package.parent / f"{module}.py", f"casstore/{module}.py")
        for source in package.glob("*.py"):
            zipped.write(source, f"casstore/kernels/{source.name}")
    assert python(PYTHONPATH=str(archive)).communicate()[0].strip() == "[False, False] False"


def test_link_knows_the_loop_by_its_entry(place: Path) -> None:
    assert works(native.link("one", ADD, building.build("one", ADD)))
