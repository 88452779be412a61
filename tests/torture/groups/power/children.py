"""The program at the shell's other end: forks for each command, and for each look at what lies on the disk.

It has everything imported and no threads: a fresh interpreter each time would take longer than the commands. It reads
lines of JSON, a method and its arguments, and answers with two lines: the child's pid at once, its exit status when it
has ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from casmodels.cli import process
from casmodels.library import Store
from casmodels.views.targets import is_temporary
from casstore.layout import Layout
from tests.crash.store_checks import check_one_gc

_IMPORTED_ONCE: Final = (
    "casmodels.cli.program",
    "casmodels.library.pulling_hub",
    "casmodels.library.saving",
    "casmodels.library.upkeep",
    "casmodels.views.checkouts",
    "casmodels.views.hub_cache",
    "casstore.codecs.byteplane",
    "casstore.codecs.delta",
    "casstore.maintenance.compact",
    "casstore.transactions",
)


def _casmodels(arguments: Sequence[str]) -> int:
    """One command line."""
    return process.run(arguments)


def _look(arguments: Sequence[str]) -> int:
    """Print what is there, before and after a gc, which must take all that leaked; AssertionError where something is
    wrong. ``arguments``: the store's directory, and the one above its checkouts."""
    store, checkouts = map(Path, arguments)
    before = _all_of(store, checkouts)
    if Layout(store).exists():
        check_one_gc(store)
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
            files = [entry.path for entry in store.ls(target)]  # type: ignore[union-attr]
            versions[target] = {path: hashlib.sha256(b"".join(store.cat(target, path))).hexdigest() for path in files}
        damaged = store.verify(data=True).damaged
        assert not damaged, f"verify --data finds {damaged}"
    return {
        "versions": versions,
        "tags": sorted(f"{one.name}@{one.version} {tag}" for one in there for tag in one.tags),
        "pins": sorted(f"{one.name}@{one.version}" for one in there if one.pinned),
        "places": places,
    }


def _files(directory: Path) -> dict[str, str]:
    """Of a checkout all files, of a view those of its one snapshot."""
    if (directory / "hub").exists():
        directory = next(directory.glob("hub/models--*/snapshots/*"), directory / "none")
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not is_temporary(path.name)
    }


def _serve(output: str, errors: str) -> None:
    """Answer until the input ends."""
    for name in _IMPORTED_ONCE:
        importlib.import_module(name)
    methods: dict[str, Callable[[Sequence[str]], int]] = {"casmodels": _casmodels, "look": _look}
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            _redirect(output, errors)
            _become(methods[method], arguments)
        _say(child)
        _say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _redirect(output: str, errors: str) -> None:
    writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for descriptor, path, flags in ((0, os.devnull, os.O_RDONLY), (1, output, writing), (2, errors, writing)):
        os.dup2(os.open(path, flags, 0o666), descriptor)


def _become(method: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> None:
    status = 1
    try:
        status = method(arguments)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status)


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
