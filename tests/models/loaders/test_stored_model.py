"""A version as loaders see it: its files and what links lead to, whole or a directory of it."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from casmodels.errors import NotLoadableError
from casmodels.library import Store
from casmodels.loaders import StoredModel
from casmodels.loaders.memory_files import MemoryFiles
from casstore.errors import DamagedError
from tests.models.reading.damage import flip_packs

Saver = Callable[..., str]


def test_contents_follow_links(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine/deep").mkdir(parents=True)
    (tmp_path / "mine/deep/a.bin").write_bytes(b"bytes")
    (tmp_path / "mine/link.bin").symlink_to("deep/a.bin")
    version = store.checkpoint("mine", tmp_path / "mine").version
    contents = store.contents("mine")
    assert contents.target == f"mine@{version}"
    assert [(file.path, file.kind, file.size_bytes) for file in contents.files] == [
        ("deep/a.bin", "file", 5),
        ("link.bin", "file", 5),
    ]
    model = StoredModel(store, "mine")
    assert model.read("link.bin") == b"bytes"
    with model.open("link.bin") as file:
        assert file.read() == b"bytes"


def test_a_directory_or_a_file_of_it(store: Store, saved: Saver) -> None:
    saved({"a.bin": b"1", "deep/b.bin": b"22", "deep/er/c.BIN.gz": gzip.compress(b"333"), "deep/d.txt": b""})
    whole, folder, file = (StoredModel(store, "mine", path) for path in (None, "deep/", "deep/b.bin"))
    assert whole.ending(".bin") == ["a.bin", "deep/b.bin", "deep/er/c.BIN.gz"]
    assert folder.ending(".bin") == ["b.bin", "er/c.BIN.gz"]
    assert file.ending(".bin") == file.candidates == ["b.bin"]
    assert sorted(file.sizes) == sorted(folder.sizes) == ["b.bin", "d.txt", "er/c.BIN.gz"]
    assert folder.read("er/c.BIN.gz") == b"333"
    assert folder.called("b.bin") == f"deep/b.bin in {whole}"


def test_the_first_bytes(store: Store, saved: Saver) -> None:
    long = bytes(range(256)) * 20_000
    saved({"long.bin": long, "short.bin": b"22", "packed.bin.gz": gzip.compress(long), "none.bin": b""})
    model = StoredModel(store, "mine")
    assert model.head("long.bin", 300) == model.head("packed.bin.gz", 300) == long[:300]
    assert model.head("long.bin", 3_000_000) == long[:3_000_000]
    assert (model.head("short.bin", 300), model.head("none.bin", 300)) == (b"22", b"")


@pytest.mark.parametrize("path", [None, "deep"])
@pytest.mark.parametrize("name", ["a.bin", "a.bin.gz"])
def test_damage_names_the_file_and_the_version(store: Store, saved: Saver, path: str | None, name: str) -> None:
    data = Random(1).randbytes(100_000)
    version = saved({f"deep/{name}": gzip.compress(data) if name.endswith(".gz") else data})
    flip_packs(store)
    model = StoredModel(store, "mine", path)
    inside = f"deep/{name}" if path is None else name
    named = rf"deep/{re.escape(name)} in mine@{version[:12]}: chunk [0-9a-f]{{64}} is damaged"
    with pytest.raises(DamagedError, match=named):
        model.read(inside)
    with pytest.raises(DamagedError, match=named), model.open(inside) as file:
        file.read()


def test_the_memory_that_a_file_takes(store: Store, saved: Saver) -> None:
    saved({"a.bin": bytes(70), "b.bin.gz": gzip.compress(bytes(1 << 20)), "c.gz": b"no", "d.gz": bytes(9)})
    model = StoredModel(store, "mine")
    assert {path: model.unpacked_bytes(path) for path in sorted(model.sizes)} == {
        "a.bin": 70,
        "b.bin.gz": 1 << 20,
        "c.gz": 2,
        "d.gz": 9,
    }


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"{", "is no JSON: "), (b"\xff", "is no JSON: "), (b"[]", "is no JSON object"), (b"[" * 9999, "JSON")],
)
def test_settings_that_are_none(store: Store, saved: Saver, data: bytes, said: str) -> None:
    saved({"config.json": data})
    with pytest.raises(NotLoadableError, match=said) as raised:
        StoredModel(store, "mine").read_json("config.json")
    assert "\n" not in raised.value.message


def test_a_file_that_is_there_twice_is_taken_as_it_is(store: Store, saved: Saver) -> None:
    saved({"v.txt": b"plain", "v.txt.gz": gzip.compress(b"packed"), "w.txt.gz": gzip.compress(b"other")})
    model = StoredModel(store, "mine")
    with MemoryFiles() as files:
        files.add_all(model, sorted(model.sizes))
        assert {path.name: path.read_bytes() for path in files.path.iterdir()} == {"v.txt": b"plain", "w.txt": b"other"}


def test_a_gzipped_file_stays_packed_where_its_name_is_taken(store: Store, saved: Saver) -> None:
    packed = gzip.compress(b"packed")
    saved({"a.gz": packed, "a/b.txt": b"b", "c.txt.GZ": gzip.compress(b"large"), "c.txt.gz": packed})
    model = StoredModel(store, "mine")
    with MemoryFiles() as files:
        files.add_all(model, sorted(model.sizes))
        found = {
            str(path.relative_to(files.path)): path.read_bytes() for path in files.path.rglob("*") if path.is_file()
        }
    assert found == {"a.gz": packed, "a/b.txt": b"b", "c.txt": b"large", "c.txt.gz": packed}
