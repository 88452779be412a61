"""What the shell's children do: a command of casmodels, or a look at all that a store and its checkouts hold."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from casmodels.cli import process
from casmodels.library import Store
from casmodels.views.targets import is_temporary
from casstore.layout import Layout
from tests.crash.command_sweep import check_collected


def import_all() -> None:
    """Import what the commands would, each time anew."""
    import casmodels.cli.program
    import casmodels.library.pulling_hub
    import casmodels.library.saving
    import casmodels.library.upkeep
    import casmodels.views.checkouts
    import casstore.codecs.byteplane
    import casstore.codecs.delta
    import casstore.maintenance.compact
    import casstore.transactions  # noqa: F401


def casmodels(arguments: Sequence[str]) -> int:
    """One command line."""
    return process.run(arguments)


def look(arguments: Sequence[str]) -> int:
    """Print what is there, before and after a gc, which must take all that leaked; AssertionError where something is
    wrong. ``arguments``: the store's directory, and the one above its checkouts."""
    store, checkouts = map(Path, arguments)
    before = _all_of(store, checkouts)
    if Layout(store).exists():
        check_collected(store)
        assert _all_of(store, checkouts) == before, "gc has changed what is there"
    json.dump(before, sys.stdout)
    return 0


def _all_of(directory: Path, checkouts: Path) -> dict[str, Any]:
    places = {path.name: _files(path) for path in sorted(checkouts.iterdir())} if checkouts.exists() else {}
    if not Layout(directory).exists():
        return {"versions": {}, "tags": [], "pins": [], "places": places}
    with Store(directory) as store:
        there = store.versions()
        versions = {}
        for version in there:
            target = f"{version.name}@{version.version}"
            files = [entry.path for entry in store.ls(target)]
            versions[target] = {
                path: hashlib.sha256(b"".join(store.cat(target, path))).hexdigest() for path in files
            }
        damaged = store.verify(data=True).damaged
        assert not damaged, f"verify --data finds {damaged}"
    return {
        "versions": versions,
        "tags": sorted(f"{one.name}@{one.version} {tag}" for one in there for tag in one.tags),
        "pins": sorted(f"{one.name}@{one.version}" for one in there if one.pinned),
        "places": places,
    }


def _files(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not is_temporary(path.name)
    }
