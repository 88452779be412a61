"""Whether journal and index are sound and say the same: what a look-up finds, and what a rebuild would."""

from __future__ import annotations

from collections.abc import Iterator

from casstore.digests import Digest
from casstore.engine import Engine
from casstore.errors import NeedsRepairError
from casstore.index.places import Places
from casstore.journal import Entry, Position, outcome
from casstore.packs import pack_path
from casstore.refs import RefKey

_TRIES = 3


def disagreements(engine: Engine) -> Iterator[str]:
    """One sentence for each thing that is wrong with the journal or the index as a whole."""
    ledger = engine.ledger
    position, packs, refs = _indexed(engine)
    try:
        begins = ledger.journal.begins()
        entries = list(ledger.journal.entries(begins))
    except NeedsRepairError as error:
        yield error.message
        entries = []
    else:
        # Between two generations there is nothing to compare, and what was committed meanwhile is not in the index.
        if position is not None and position.generation == begins.generation:
            entries = [entry for entry in entries if entry.after.sequence <= position.sequence]
            if not entries or entries[-1].after.sequence < position.sequence:
                yield f"the journal of {engine.layout.root} has lost its end"
            elif not _agree(engine, entries, packs, refs):
                yield f"the index of {engine.layout.root} does not say what its journal says"
    try:
        if not ledger.database.is_sound():
            yield f"the index of {engine.layout.root} is damaged"
        Places(ledger.database, ledger.locked).all()
    except NeedsRepairError as error:
        yield error.message


def check_agreement(engine: Engine) -> None:
    """Raise NeedsRepairError when index and journal disagree. What drops or rewrites anything by the index asks first:
    to a damaged one, what is needed may seem not to be."""
    if any(disagreements(engine)):
        with engine.ledger.locked():  # or another process may have written a new journal meanwhile
            for reason in disagreements(engine):
                raise NeedsRepairError(reason)


def _indexed(engine: Engine) -> tuple[Position | None, set[bytes], dict[RefKey, Digest]]:
    """How far the index has come, and the packs and refs that it has then; no position when it never stands still."""
    ledger = engine.ledger
    for _ in range(_TRIES):
        position = ledger.meta.position
        packs, refs = ledger.rows.pack_ids(), {ref.key: ref.target for ref in ledger.refs.all()}
        if ledger.meta.position == position:
            return position, packs, refs
    return None, set(), {}


def _agree(engine: Engine, entries: list[Entry], packs: set[bytes], refs: dict[RefKey, Digest]) -> bool:
    """Whether packs and refs are those of the journal, but for packs that are lost: a rebuild leaves these out."""
    counted, moved = outcome(operation for entry in entries for operation in entry.operations)
    left_out = counted - packs
    return (
        packs <= counted
        and not any(pack_path(engine.layout.packs, pack_id).exists() for pack_id in left_out)
        and refs == moved
    )
