"""A store of its own for each test."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from casmodels import config
from casmodels.library import Store
from tests.models.reading.weights import save
from tests.quick_disk import quick_directory

Saver = Callable[..., str]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Instead of pytest's own: fast, whatever the disk."""
    with quick_directory() as directory:
        yield directory


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    settings = tmp_path / "config.toml"
    settings.touch()
    environ = {"CASMODELS_CONFIG": str(settings), "HF_HOME": str(tmp_path / "hf")}
    with Store(config=config.load(store=tmp_path / "store", environ=environ)) as opened:
        yield opened


@pytest.fixture
def saved(store: Store, tmp_path: Path) -> Saver:
    """Puts files in as a version of a name (``mine``); gives the version's id."""

    def put(files: Mapping[str, bytes], name: str = "mine") -> str:
        return save(store, name, tmp_path / name, files)

    return put


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory for the temporary files of this process and of workers, which have the test's settings."""
    monkeypatch.setenv("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    return place
