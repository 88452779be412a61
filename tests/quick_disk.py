"""A directory in memory for tests that write much and sync often; on disk where there is none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")


def quick_parent() -> Path:
    """Where such directories are made."""
    is_there = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)
    return _MEMORY if is_there else Path(tempfile.gettempdir())


@contextmanager
def quick_directory(prefix: str = "casstore-test-") -> Iterator[Path]:
    """A new directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix=prefix, dir=quick_parent()) as name:
        yield Path(name)
