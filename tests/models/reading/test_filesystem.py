"""The file system of fsspec: versions as directories, read-only."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import fsspec
import pytest

from casmodels.library import Store
from tests.models.reading.weights import normal, safetensors_of

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS = safetensors_of({"w": normal(1 << 20)})
FILES = {"config.json": b'{"a": 1}\n', "model.safetensors": WEIGHTS, "sub/deep/table.csv": b"x,y\n1,2\n"}
Saver = Callable[..., str]


@pytest.fixture
def fs(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setenv("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("CASMODELS_HOME", str(store.directory))
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["fsspec.specs"]
    ((name, value),) = declared.items()
    fsspec.register_implementation(name, EntryPoint(name, value, "fsspec.specs").load(), clobber=True)
    saved(FILES)
    saved({"config.json": b"{}"}, "org/other")
    opened = fsspec.filesystem("casmodels", store=str(store.directory), skip_instance_cache=True)
    yield opened
    fsspec.get_filesystem_class("casmodels").clear_instance_cache()


def test_listing(fs: Any) -> None:
    assert fs.ls("", detail=False) == ["mine", "org"]
    assert fs.ls("casmodels://org", detail=False) == ["org/other"]
    assert sorted(fs.ls("mine", detail=False)) == ["mine/config.json", "mine/model.safetensors", "mine/sub"]
    assert fs.ls("mine/sub", detail=False) == ["mine/sub/deep"]
    assert fs.ls("mine@~0/config.json", detail=False) == ["mine@~0/config.json"]
    assert sorted(fs.find("casmodels://mine")) == [f"mine/{path}" for path in sorted(FILES)]
    assert fs.glob("casmodels://mine/**/*.csv") == ["mine/sub/deep/table.csv"]
    assert fs.glob("mine/*.safetensors") == ["mine/model.safetensors"]
    assert fs.du("mine") == sum(map(len, FILES.values()))
    assert [path for path, _, _ in fs.walk("mine")] == ["mine", "mine/sub", "mine/sub/deep"]


def test_info(fs: Any) -> None:
    info = fs.info("casmodels://mine/model.safetensors")
    assert (info["name"], info["type"], info["size"]) == ("mine/model.safetensors", "file", len(WEIGHTS))
    assert fs.ukey("mine/model.safetensors") == info["sha256"]
    for directory in ("", "org", "mine", "mine/sub", "org/other", "mine@~0"):
        assert fs.isdir(directory)
    assert fs.isfile("mine/sub/deep/table.csv")
    for path in ("nobody", "mine/none", "mine@none/config.json", "org/none", "mine/config.json/x"):
        assert not fs.exists(path)
        with pytest.raises(FileNotFoundError):
            fs.info(path)
        with pytest.raises(FileNotFoundError):
            fs.ls(path)


def test_reading(fs: Any, tmp_path: Path) -> None:
    assert fs.cat("mine/config.json") == FILES["config.json"]
    assert fs.cat_file("mine/model.safetensors", 1 << 20, (1 << 20) + 50) == WEIGHTS[1 << 20 : (1 << 20) + 50]
    assert fs.cat_file("mine/model.safetensors", -9) == WEIGHTS[-9:]
    assert fs.cat_ranges(["mine/model.safetensors"] * 2, [0, 5], [4, 9]) == [WEIGHTS[:4], WEIGHTS[5:9]]
    with fs.open("mine/config.json") as file:
        assert file.size == len(FILES["config.json"])
    with fs.open("mine/sub/deep/table.csv", "rt") as text:
        assert text.readlines() == ["x,y\n", "1,2\n"]
    fs.get("mine", str(tmp_path / "out"), recursive=True)
    assert (tmp_path / "out/sub/deep/table.csv").read_bytes() == FILES["sub/deep/table.csv"]
    with pytest.raises(IsADirectoryError):
        fs.open("mine")
    with pytest.raises(FileNotFoundError):
        fs.open("mine/none")


def test_urls_work_wherever_fsspec_does(fs: Any) -> None:
    with fsspec.open("casmodels://org/other/config.json") as file:
        assert file.read() == b"{}"
    with fsspec.open("simplecache::casmodels://mine/config.json", "r") as file:
        assert file.read() == '{"a": 1}\n'


@pytest.mark.parametrize(
    "write",
    [
        lambda fs: fs.open("mine/new", "wb"),
        lambda fs: fs.open("mine/config.json", "ab"),
        lambda fs: fs.open("mine/config.json", "r+b"),
        lambda fs: fs.pipe("mine/new", b"x"),
        lambda fs: fs.mkdir("mine/new"),
        lambda fs: fs.makedirs("mine/new", exist_ok=True),
        lambda fs: fs.rm("mine", recursive=True),
        lambda fs: fs.rm_file("mine/config.json"),
        lambda fs: fs.mv("mine/config.json", "mine/new"),
        lambda fs: fs.cp("mine/config.json", "mine/new"),
        lambda fs: fs.put(__file__, "mine/new"),
        lambda fs: fs.touch("mine/new"),
        lambda fs: fs.delete("mine/config.json"),
    ],
)
def test_nothing_writes(fs: Any, write: Callable[[Any], object]) -> None:
    with pytest.raises(OSError, match="checkpoint"):
        write(fs)
    assert fs.cat("mine/config.json") == FILES["config.json"]
