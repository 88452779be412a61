"""A store with a few models, served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casstore.store import Store
from tests.models.serve.shelf import Hub, hub


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", create=True) as opened:
        yield opened


@pytest.fixture
def served(store: Store) -> Iterator[Hub]:
    with hub(store) as running:
        yield running
