"""What versions need, and that the index knows all of it.

SQLite keeps no checksums, so an index in which a byte has gone bad may look sound and yet have lost a row: then what is
needed seems not to be. Before anything is dropped or rewritten by it, what refs need is looked for in it, and what has
left a pack is looked for where it says.
"""

from __future__ import annotations

from collections.abc import Iterable

from casstore.closure import closure, root_of
from casstore.digests import Digest
from casstore.engine import Engine
from casstore.errors import DamagedError, NeedsRepairError, NotFoundError
from casstore.frames import FrameKind
from casstore.index.reach import Reach
from casstore.packs import pack_path, read_frames, read_header
from casstore.refs import Ref


def add_needed(engine: Engine, refs: Iterable[Ref], reach: Reach, *, past_damage: bool = False) -> bool:
    """Let what refs need be reached; whether the index knows how to make all of their files.

    Raises NotFoundError for records that have no row, and DamagedError for such as cannot be read and are not marked as
    damaged, unless it is to go on ``past_damage``.
    """
    walked: set[bytes] = set()
    unmade: list[Digest] = []
    for kind, digest in dict.fromkeys(root_of(ref) for ref in refs):
        try:
            reach.add(closure(engine, kind, digest, walked, unmade))
        except DamagedError:
            if not past_damage:
                raise
    return not unmade


def check_needed(engine: Engine, refs: Iterable[Ref], reach: Reach, *, past_damage: bool = False) -> None:
    """Let what refs need be reached. Raises NeedsRepairError when something of it has no row, and DamagedError as
    `add_needed`.

    In an index in which a repair has marked what is lost, more may be missing: what was lost needed it.
    """
    try:
        is_known = add_needed(engine, refs, reach, past_damage=past_damage) and reach.is_known()
    except NotFoundError:
        is_known = False
    else:
        is_known = is_known or engine.ledger.rows.any_damaged()
    if not is_known:
        raise NeedsRepairError(f"the index of {engine.layout.root} does not know all that versions need")


def check_left(engine: Engine, pack_id: bytes) -> None:
    """Raise NeedsRepairError when a frame of a pack that no row points into is not where its row says."""
    path = pack_path(engine.layout.packs, pack_id)
    if not path.exists():
        return
    for placed in read_frames(path):
        kind, digest = placed.header.kind, placed.header.digest
        if engine.ledger.rows.has(kind, digest) and not _is_elsewhere(engine, kind, digest):
            raise NeedsRepairError(
                f"the index of {engine.layout.root} does not say where {kind.name.lower()} {digest.hex()} is"
            )


def _is_elsewhere(engine: Engine, kind: FrameKind, digest: bytes) -> bool:
    row = engine.ledger.rows.frame(kind, digest)
    if row is None:
        return False
    try:
        header = read_header(pack_path(engine.layout.packs, row.pack), row.offset)
    except (DamagedError, FileNotFoundError):
        return False
    return (header.kind, header.digest) == (kind, digest)
