"""repair: rebuild the index, and set what is damaged aside so that storing it again heals it."""

from __future__ import annotations

from collections.abc import Callable

from casstore.digests import BLAKE3, Digest
from casstore.engine import Engine
from casstore.errors import DamagedError
from casstore.frames import FrameKind
from casstore.index.rows import State
from casstore.maintenance.rebuild import Rebuilt, rebuild
from casstore.maintenance.verify import Checked, check
from casstore.records import read_outline

__all__ = ["Rebuilt", "mend", "rebuild", "set_aside"]


def set_aside(engine: Engine, checked: Checked) -> int:
    """Mark frames that a check found broken, so that a look-up misses them and storing the content again heals them.

    Gives how many chunks that were. A recipe that needs a broken chunk stays readable, but its blob no longer counts
    as had, so that the next pull or checkpoint stores it again.
    """
    rows = engine.ledger.rows
    with engine.ledger.locked():
        for kind in FrameKind:
            rows.set_state(kind, (digest for of, digest in checked.broken if of is kind), State.DAMAGED)
        broken_chunks = {digest for kind, digest in checked.broken if kind is FrameKind.CHUNK}
        broken_chunks |= {bytes.fromhex(finding.frame) for finding in checked.findings if finding.frame is not None}
        if broken_chunks:
            rows.set_state(FrameKind.RECIPE, _recipes_with(engine, broken_chunks), State.INCOMPLETE)
    return len(broken_chunks)


def mend(engine: Engine, *, progress: Callable[[int], object] | None = None) -> Checked:
    """Read every stored byte and set aside what is broken. The caller holds a lease."""
    checked = check(engine, data=True, progress=progress)
    set_aside(engine, checked)
    return checked


def _recipes_with(engine: Engine, chunks: set[bytes]) -> list[bytes]:
    found = []
    for digest in engine.ledger.rows.readable(FrameKind.RECIPE):
        try:
            outline = read_outline(engine, Digest(BLAKE3, digest))
        except DamagedError:
            continue
        if not all(chunks.isdisjoint(some) for some in outline.chunks()):
            found.append(digest)
    return found
