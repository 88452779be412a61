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
from casstore.index.reach import Reach
from casstore.index.rows import FrameRow
from casstore.packs import pack_path, read_frames, read_header
from casstore.refs import Ref

_MISSING = "repair.missing"


def add_needed(engine: Engine, refs: Iterable[Ref], reach: Reach, *, past_damage: bool = False) -> int:
    """Let what refs need be reached; gives how much of it is missing from the index, frames and ways to make a blob.

    Raises NotFoundError for records that have no row, and DamagedError for such as cannot be read and are not marked as
    damaged, unless it is to go on ``past_damage``: then the former are missing, and what the latter need is not asked.
    """
    walked: set[bytes] = set()
    unmade: set[Digest] = set()
    records = 0
    for kind, digest in dict.fromkeys(root_of(ref) for ref in refs):
        try:
            reach.add(closure(engine, kind, digest, walked, unmade))
        except DamagedError:
            if not past_damage:
                raise
        except NotFoundError:
            if not past_damage:
                raise
            records += 1
    return records + len(unmade) + reach.unknown()


def note_missing(engine: Engine) -> None:
    """Note how much of what refs need is missing, when a repair has marked all that is damaged or lost.

    The caller holds a lease.
    """
    with Reach(engine.ledger.database) as reach:
        missing = add_needed(engine, engine.ledger.refs.all(), reach, past_damage=True)
    with engine.ledger.locked():
        engine.ledger.meta.put(_MISSING, str(missing) if missing else None)


def check_needed(engine: Engine, refs: Iterable[Ref], reach: Reach, *, past_damage: bool = False) -> None:
    """Let what refs need be reached. Raises NeedsRepairError when more of it is missing from the index than the last
    repair has noted, and DamagedError as `add_needed`."""
    noted = engine.ledger.meta.get(_MISSING) or ""
    try:
        missing = add_needed(engine, refs, reach, past_damage=past_damage)
    except NotFoundError as error:
        raise _incomplete(engine) from error
    if missing > (int(noted) if noted.isdecimal() else 0):
        raise _incomplete(engine)


def _incomplete(engine: Engine) -> NeedsRepairError:
    return NeedsRepairError(f"the index of {engine.layout.root} does not know all that versions need")


def check_left(engine: Engine, pack_id: bytes) -> None:
    """Raise NeedsRepairError when a frame of a pack that no row points into is not where its row says."""
    path = pack_path(engine.layout.packs, pack_id)
    if not path.exists():
        return
    try:
        frames = read_frames(path)
    except OSError:
        return  # what a bad disk keeps to itself nobody can have
    for placed in frames:
        kind, digest = placed.header.kind, placed.header.digest
        row = engine.ledger.rows.frame(kind, digest)
        is_right = _lies_there(engine, row) if row is not None else not engine.ledger.rows.has(kind, digest)
        if not is_right:
            raise NeedsRepairError(
                f"the index of {engine.layout.root} does not say where {kind.name.lower()} {digest.hex()} is"
            )


def _lies_there(engine: Engine, row: FrameRow) -> bool:
    """Whether the frame of a row begins where it says."""
    try:
        header = read_header(pack_path(engine.layout.packs, row.pack), row.offset)
    except (DamagedError, FileNotFoundError):
        return False
    return (header.kind, header.digest) == (row.kind, row.digest)
