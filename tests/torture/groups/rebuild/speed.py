"""How long a rebuild takes, beside reading the same packs from one end to the other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from casstore.maintenance.rebuild import rebuild
from casstore.packs import list_packs, pack_path
from casstore.store import Store
from casstore.testing.builders import put
from tests.torture.plan import Outcome, Plan

_FULL_BYTES: Final = 1536 << 20
_SHORT_BYTES: Final = 48 << 20
_FILE_BYTES: Final = 48 << 20
_READ_BYTES: Final = 1 << 20
_MUST_REACH: Final = 0.5


def speeds(plan: Plan) -> Iterator[Outcome]:
    """A rebuild from the trailers; then one for which every pack has to be read, since no trailer can be believed."""
    root = plan.work / "large"
    count = (_SHORT_BYTES if plan.is_short else _FULL_BYTES) // _FILE_BYTES
    with Store.open(root, create=True) as store:
        for number in range(count):
            put(store, f"v{number}", {"noise": plan.random(f"file {number}").randbytes(_FILE_BYTES)})
        packs = [pack_path(store.layout.packs, pack_id) for pack_id in list_packs(store.layout.packs)]
        yield _measure(
            "rebuilt from the packs' trailers", packs, lambda: _rebuild(store, count), is_large=not plan.is_short
        )
        for path in packs:
            with path.open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"\xff")
        yield _measure(
            "rebuilt with every trailer torn", packs, lambda: _rebuild(store, count), is_large=not plan.is_short
        )


def _measure(what: str, packs: list[Path], work: Callable[[], str], *, is_large: bool) -> Outcome:
    """Work and reading, each with nothing of the packs in the caches; how long that takes says little for a small
    store."""
    size_bytes = sum(path.stat().st_size for path in packs)
    read_seconds = _seconds(packs, lambda: _read_all(packs))
    failures: list[str] = []
    seconds = _seconds(packs, lambda: failures.extend(filter(None, [work()])))
    ratio = read_seconds / seconds
    if is_large and ratio < _MUST_REACH:
        failures.append(f"{what}: {seconds:.2f} s, where reading takes {read_seconds:.2f} s")
    note = (
        f"{size_bytes / 1e9:.2f} GB of packs in {seconds:.2f} s; reading them takes {read_seconds:.2f} s: "
        f"{ratio:.1f} times the speed of reading"
    )
    return Outcome(what, 1, tuple(failures), note)


def _rebuild(store: Store, versions: int) -> str:
    """What did not hold."""
    rebuilt = rebuild(store.layout)
    with store.reading() as reader:
        found = len(reader.refs())
    is_right = found == versions and not (rebuilt.lost_packs or rebuilt.adopted_packs or rebuilt.damaged_lines)
    return "" if is_right else f"{rebuilt} and {found} refs instead of {versions}"


def _seconds(packs: list[Path], work: Callable[[], object]) -> float:
    for path in packs:
        _forget(path)
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _forget(path: Path) -> None:
    """Take a file out of the caches, where the system can be asked to."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _read_all(packs: list[Path]) -> None:
    for path in packs:
        with path.open("rb", buffering=0) as file:
            while file.read(_READ_BYTES):
                pass
