"""Stores for the tests of the engine: small chunks, small packs, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casstore import files
from casstore.engine import Settings
from casstore.store import Store
from casstore.testing.builders import grid
from tests.quick_disk import quick_directory

Opener = Callable[..., Store]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Instead of pytest's own: fast, whatever the disk."""
    with quick_directory() as directory:
        yield directory


@pytest.fixture(autouse=True)
def _no_hook() -> Iterator[None]:
    yield
    files.set_hook(None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the store of a test lies."""
    return tmp_path / "store"


@pytest.fixture
def opened(root: Path) -> Iterator[Opener]:
    """Opens stores, made where there is none, and closes them at the end."""
    stores = []

    def open_store(path: Path = root, *, pack_bytes: int = 64 << 20, create: bool = True) -> Store:
        store = Store.open(path, create=create, finder=grid, workers=2, settings=Settings(pack_bytes=pack_bytes))
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Opener) -> Store:
    """A new store with two coders that cuts files every 4 KiB."""
    return opened()


@pytest.fixture
def small_packs(opened: Opener) -> Store:
    """A new store whose packs are full after 10 kB."""
    return opened(pack_bytes=10_000)
