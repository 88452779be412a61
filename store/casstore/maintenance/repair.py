"""repair: rebuild the index, and set what is damaged aside so that storing it again heals it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from casstore.digests import BLAKE3, Digest
from casstore.engine import Engine
from casstore.errors import DamagedError, NotFoundError
from casstore.frames import FrameKind
from casstore.index.rows import BlobInfo, State
from casstore.maintenance.needed import note_missing
from casstore.maintenance.rebuild import Rebuilt, rebuild
from casstore.maintenance.sums import corrected
from casstore.maintenance.verify import Checked, check
from casstore.recipes import Outline, Recipe
from casstore.records import read_outline

__all__ = ["Rebuilt", "mend", "rebuild", "set_aside"]


def set_aside(engine: Engine, checked: Checked) -> int:
    """Mark frames that a check found broken, so that a look-up misses them and storing the content again heals them.

    Gives how many chunks that were. A recipe that needs a broken chunk stays readable, but its blob no longer counts
    as had, so that the next pull or checkpoint stores it again. A blob whose recipe is broken is made by another one
    where there is one.
    """
    rows = engine.ledger.rows
    with engine.ledger.locked():
        for kind in FrameKind:
            rows.set_state(kind, (digest for of, digest in checked.broken if of is kind), State.DAMAGED)
        broken_chunks = {digest for kind, digest in checked.broken if kind is FrameKind.CHUNK}
        broken_chunks |= {bytes.fromhex(finding.frame) for finding in checked.findings if finding.frame is not None}
        if broken_chunks:
            rows.set_state(FrameKind.RECIPE, _recipes_with(engine, broken_chunks), State.INCOMPLETE)
        if any(kind is FrameKind.RECIPE for kind, _ in checked.broken):
            rows.map_blobs(_whole_blobs(engine))
    note_missing(engine)
    return len(broken_chunks)


def mend(
    engine: Engine,
    *,
    instead: Callable[[Recipe], object] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Checked:
    """Read every stored byte and set aside what is broken. The caller holds a lease.

    ``instead`` gets the recipes that are to be put in for those that were set aside only because of a false git id.
    """
    checked = check(engine, data=True, progress=progress)
    recipes = [Digest(BLAKE3, digest) for kind, digest in checked.broken if kind is FrameKind.RECIPE]
    found = [recipe for digest in recipes if (recipe := _corrected(engine, digest)) is not None]
    set_aside(engine, checked)
    if instead is not None:
        for recipe in found:
            instead(recipe)
    return checked


def _corrected(engine: Engine, digest: Digest) -> Recipe | None:
    try:
        return corrected(engine, digest)
    except (DamagedError, NotFoundError):
        return None


def _recipes_with(engine: Engine, chunks: set[bytes]) -> list[bytes]:
    return [
        digest.value
        for digest, outline in _outlines(engine)
        if not all(chunks.isdisjoint(some) for some in outline.chunks())
    ]


def _whole_blobs(engine: Engine) -> Iterator[BlobInfo]:
    for digest, outline in _outlines(engine):
        if engine.ledger.rows.is_live(FrameKind.RECIPE, digest.value):
            yield BlobInfo(outline.sha256, outline.size_bytes, digest, outline.git)


def _outlines(engine: Engine) -> Iterator[tuple[Digest, Outline]]:
    """The recipes that can be read."""
    for value in engine.ledger.rows.readable(FrameKind.RECIPE):
        digest = Digest(BLAKE3, value)
        with contextlib.suppress(DamagedError):
            yield digest, read_outline(engine, digest)
