"""A store of its own for each test, and a Hub that it pulls from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casmodels import config
from casmodels.library import Store
from tests.hub import FakeHub

MakeStore = Callable[..., Store]


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as fake:
        yield fake


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[MakeStore]:
    """Opens the store in ``tmp_path/store`` with an environment of the test's own."""
    opened: list[Store] = []

    def make(name: str = "store", **environ: str) -> Store:
        environ.setdefault("CASMODELS_CONFIG", str(tmp_path / "config.toml"))
        environ.setdefault("HF_HOME", str(tmp_path / "hf"))
        Path(environ["CASMODELS_CONFIG"]).touch()
        opened.append(Store(config=config.load(store=tmp_path / name, environ=environ)))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(make_store: MakeStore, hub: FakeHub) -> Store:
    return make_store(HF_ENDPOINT=hub.url)
