"""What a new chunk had better be stored against: similar ones, in the store or just written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from casstore.buffers import Buffer
from casstore.chunkers.spans import Piece
from casstore.engine import Engine, decoded
from casstore.errors import DamagedError, FailedError, NotFoundError
from casstore.frames import FrameKind
from casstore.lineage import Lineage
from casstore.pending import Pending

if TYPE_CHECKING:
    from casstore.pipeline import Base

_MOST_CANDIDATES: Final = 32
"""So many chunks of one key are compared by their sketches: those stored whole first, of these the newest; and those of
the versions that a chunk's own is known to come from, whatever their number."""


class Bases:
    """Finds bases for the chunks of one transaction. Safe for threads."""

    def __init__(self, engine: Engine, pending: Pending, lineage: Lineage) -> None:
        self._engine = engine
        self._pending = pending
        self._lineage = lineage

    def __call__(self, piece: Piece, data: Buffer) -> Iterator[Base]:
        """The bases to try, best first, each read and checked when it is asked for; none for most chunks."""
        candidates = self._pending.candidates(piece.key)
        stored = self._engine.ledger.rows.similar(piece.key, _MOST_CANDIDATES)
        if len(stored) == _MOST_CANDIDATES:  # there may be more, and what is known to be related among them
            candidates += self._lineage.candidates(piece.key)
        candidates += stored
        if not candidates:
            return
        # Both load NumPy, which a chunk without candidates may do without.
        from casstore.pipeline import Base
        from casstore.similarity import choices, sketch

        for choice in choices(sketch(data, piece.item_width), piece.length, candidates):
            try:
                raw = self._content(choice.digest)
            except (DamagedError, NotFoundError, FailedError, OSError):
                continue  # `verify` is there to tell of damage; here it only costs space
            yield Base(choice.digest, raw, choice.cast, choice.must_be_exact, choice.stored_share)

    def _content(self, digest: bytes, *, check: bool = True) -> Buffer:
        frame = self._pending.read(FrameKind.CHUNK, digest)
        if frame is not None:
            return decoded(frame, FrameKind.CHUNK, digest, self._content, check=check)
        return self._engine.content(FrameKind.CHUNK, digest, check=check)


def no_bases(piece: Piece, data: Buffer) -> tuple[Base, ...]:  # noqa: ARG001
    """For stores in which every chunk is whole."""
    return ()
