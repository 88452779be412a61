from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casmodels.views.contents import link_target
from casstore import files
from casstore.index.places import Places
from casstore.store import Store
from tests.models.views.shelf import Killer, Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with Store.open(tmp_path / "store", create=True) as store:
        yield Shelf(store)


@pytest.fixture
def listing() -> Callable[[Path], dict[str, object]]:
    """What lies in a directory: path to bytes, to a link's target, or to None for an empty directory."""

    def look(directory: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for here, folders, names in os.walk(directory):
            links = [name for name in folders if (Path(here) / name).is_symlink()]
            for name in names + links:
                path = Path(here) / name
                key = path.relative_to(directory).as_posix()
                found[key] = link_target(path) if path.is_symlink() else path.read_bytes()
            if not folders and not names and Path(here) != directory:
                found[Path(here).relative_to(directory).as_posix()] = None
        return found

    return look


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Killer]:
    killer = Killer()
    monkeypatch.setattr(Path, "unlink", killer.guard(Path.unlink))
    monkeypatch.setattr(Places, "save", killer.guard(Places.save))
    files.set_hook(killer)
    yield killer
    files.set_hook(None)
