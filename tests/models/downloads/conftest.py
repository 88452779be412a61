from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casmodels.downloads import Downloader
from tests.hub import FakeHub
from tests.models.downloads.wanting import DATA, SMALL, Make, Pauses


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.files["/model.bin"] = DATA
        hub.files["/small.json"] = SMALL
        yield hub


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def make(tmp_path: Path, pauses: Pauses) -> Iterator[Make]:
    made = []

    def make(**options: object) -> Downloader:
        settings = {"wait": pauses, "jitter": lambda: 1.0, "stall_seconds": 0.3} | options
        made.append(Downloader(tmp_path / "partials", **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for downloader in made:
        downloader.__exit__(None, None, None)
