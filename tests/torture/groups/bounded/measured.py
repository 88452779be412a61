"""One operation in a process of its own: ``python -m tests.torture.groups.bounded.measured OPERATION STORE``.

With ``small`` as a third word its caches are small. Prints as JSON the peak of its memory in bytes and its CPU time in
seconds.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import casmodels
from casstore.engine import Settings
from casstore.index import database, order, reach
from casstore.layout import Layout
from casstore.maintenance import gc
from casstore.maintenance.compact import compact
from casstore.maintenance.rebuild import rebuild
from casstore.maintenance.verify import check
from casstore.refs import RefKind
from casstore.store import Store
from tests.torture.groups.bounded.stores import CHUNK_BYTES, PACK_FRAMES

_MERGED_PACK_BYTES: Final = 1 << 20
"""Frames are so small here that one of the usual size would hold 300,000."""


def _rebuild(path: Path) -> None:
    rebuilt = rebuild(Layout(path))
    assert not rebuilt.lost_packs
    assert not rebuilt.adopted_packs


def _verify(path: Path) -> None:
    _check(path, data=False, named=False)


def _verify_data(path: Path) -> None:
    _check(path, data=True, named=False)


def _verify_name(path: Path) -> None:
    _check(path, data=True, named=True)


def _check(path: Path, *, data: bool, named: bool) -> None:
    with Store.open(path) as store, store.reading() as reader:
        refs = reader.refs(RefKind.VERSION, "large") if named else None
        checked = check(store.engine, refs, data=data)
    assert not checked.findings
    assert not checked.broken


def _gc(path: Path) -> None:
    """A quarter of the versions is removed first."""
    with Store.open(path) as store:
        refs = store.engine.ledger.refs.all()
        with store.engine.ledger.change() as change:
            for ref in refs[3::4]:
                change.set_ref(ref.key, None)
        chunks, _, _ = store.engine.ledger.rows.totals()
        collected = gc.collect(store.engine)
        assert 4 * collected.chunks == chunks


def _compact(path: Path) -> None:
    """Looks at every chunk, and leaves all packs as they are."""
    with Store.open(path, settings=Settings(pack_bytes=1)) as store:
        compacted = compact(store.engine)
    assert not compacted.deltas
    assert not compacted.packs


def _compact_small(path: Path) -> None:
    """Merges all packs, which are read and checked for that."""
    with Store.open(path, settings=Settings(pack_bytes=_MERGED_PACK_BYTES)) as store:
        compacted = compact(store.engine)
        assert compacted.packs >= store.engine.ledger.rows.totals()[0] // PACK_FRAMES
    assert not compacted.damaged_packs


def _list(path: Path) -> None:
    with casmodels.Store(path) as store:
        for model in store.list():
            assert model.stored_bytes > CHUNK_BYTES * model.versions


def _versions(path: Path) -> None:
    with casmodels.Store(path) as store:
        assert all(version.stored_bytes > CHUNK_BYTES for version in store.versions())


OPERATIONS: Final[dict[str, Callable[[Path], None]]] = {
    "rebuild": _rebuild,
    "verify": _verify,
    "verify --data": _verify_data,
    "verify NAME --data": _verify_name,
    "gc": _gc,
    "compact": _compact,
    "compact of small packs": _compact_small,
    "list": _list,
    "versions": _versions,
}


def main() -> None:
    """Do it, and print what it took."""
    operation, path, *how = sys.argv[1:]
    if how == ["small"]:
        _make_caches_small()
    OPERATIONS[operation](Path(path))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result = {"peak_bytes": _peak_bytes(), "cpu_seconds": usage.ru_utime + usage.ru_stime}
    sys.stdout.write(f"{json.dumps(result)}\n")


def _make_caches_small() -> None:
    """As small as small stores are, or they would hide what grows."""
    database._CACHE_KIB = 512
    reach._RECENT = reach._BATCH = order._BATCH = 1024
    reach._UNSORTED = 8192


def _peak_bytes() -> int:
    """Linux lets `ru_maxrss` begin with the size of the process that forked this one; the status file does not."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


if __name__ == "__main__":
    main()
