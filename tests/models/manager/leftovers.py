"""What a download may have left behind."""

from __future__ import annotations

import threading
from pathlib import Path

from casstore.refs import RefKind
from casstore.store import Store

_THREAD_OF_THE_HUB = "process_request_thread"


def left_behind(cache: Path, threads_before: set[threading.Thread]) -> list[str]:
    """Threads, leases, partial files, temporary files and hidden refs, each in a word; empty when there are none."""
    found = [
        f"thread {one.name}"
        for one in set(threading.enumerate()) - threads_before
        if _THREAD_OF_THE_HUB not in one.name
    ]
    store = cache / "store"
    if store.exists():
        found += [f"download {path.name}" for path in (store / "downloads").glob("*")]
        found += [f"lease {path.name}" for path in (store / "leases").glob("*")]
        with Store.open(store) as opened:
            found += [f"ref {ref.key}" for ref in opened.engine.ledger.refs.all(RefKind.PARTIAL)]
    found += [str(path) for path in cache.rglob("*") if path.name.endswith((".tmp", ".part", ".unpacking"))]
    return found
