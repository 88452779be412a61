"""Directories in memory: a SIGKILL leaves what is in the caches, so real disks would only be slower."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casstore import files
from tests.quick_disk import quick_directory


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Instead of pytest's own."""
    with quick_directory() as directory:
        yield directory


@pytest.fixture(autouse=True)
def _no_hook() -> Iterator[None]:
    yield
    files.set_hook(None)
