"""A downloader with a directory of its own for each test, and a Hub that it downloads from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casmodels import ModelDownloader
from tests.hub import FakeHub

MakeDownloader = Callable[..., ModelDownloader]


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as fake:
        yield fake


@pytest.fixture
def environment(tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the configuration is read from, in this process and in others."""
    (tmp_path / "config.toml").touch()
    variables = {
        "CASMODELS_CONFIG": str(tmp_path / "config.toml"),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
    }
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "CASMODELS_HOME", "HF_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def downloader(cache: Path, environment: dict[str, str]) -> Iterator[ModelDownloader]:
    with ModelDownloader(cache_dir=cache) as one:
        yield one
