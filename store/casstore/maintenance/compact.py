"""compact: store chunks against better bases, merge small packs, drop dead space. FORMAT.md, "Compact".

New packs are written and made durable; then, in one transaction, rows move to them, each on the condition that it still
lies where it was read; packs that no row points into count no more, and are unlinked last. Readers look again when a
pack is gone under them. Killed at any point, what was moved has moved and the rest has not: run it again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from casstore import codecs
from casstore.chunkers.spans import Piece
from casstore.engine import Engine
from casstore.errors import DamagedError, NotFoundError
from casstore.frames import Frame, FrameKind, parse_frame
from casstore.index.order import frames_in_packs
from casstore.index.reach import Reach
from casstore.index.rows import FrameRow
from casstore.maintenance.agreement import check_agreement
from casstore.maintenance.gc import maintenance_lock, remove_empty_packs
from casstore.maintenance.needed import check_needed
from casstore.maintenance.replan import Plan, plans
from casstore.packs import PackWriter, overhead_bytes
from casstore.pipeline import Base, frame_against
from casstore.refs import RefKind
from casstore.similarity import item_width

_MUCH_DEAD = 0.2
"""A pack is rewritten when this share of it is dead."""

_SMALL = 0.25
"""A pack is merged with others when it has less than this share of a full one's size."""

_MUST_SAVE = 0.1
"""A chunk is stored anew only where that saves this share of its frame."""

_AHEAD = 16


@dataclass(frozen=True, slots=True)
class Compacted:
    """What was done, or would be: bytes that the packs have shrunk by, chunks that became deltas, packs rewritten, and
    packs left alone because something in them is damaged."""

    reclaimed_bytes: int
    deltas: int
    packs: int
    damaged_packs: int


def compact(engine: Engine, *, progress: Callable[[int], object] | None = None) -> Compacted:
    """Rewrite what pays. The caller holds no lease.

    Raises BusyError when another maintenance runs, FullError and others when writing fails; what has been moved by then
    stays moved.
    """
    told = progress if progress is not None else _tell_nobody
    with maintenance_lock(engine):
        engine.ledger.check_packs()
        check_agreement(engine)
        with Reach(engine.ledger.database) as reach:
            refs = [ref for ref in engine.ledger.refs.all() if ref.key.kind is not RefKind.PARTIAL]
            check_needed(engine, refs, reach, past_damage=True)
        before = engine.ledger.rows.packs_bytes()
        mover = _Mover(engine)
        try:
            for row, frame in _deltas(engine):
                mover.add(row, frame)
                told(row.length)
            mover.finish()
            deltas = mover.added
            rewritten, damaged = 0, 0
            with frames_in_packs(engine.ledger.database, _wasteful_packs(engine)) as rows:
                for _, rows_of_pack in groupby(rows, attrgetter("pack")):
                    try:
                        frames = list(_frames_of(engine, rows_of_pack))
                    except DamagedError:
                        damaged += 1
                        continue
                    for row, frame in frames:
                        mover.add(row, frame)
                        told(row.length)
                    rewritten += 1
            mover.finish()
        finally:
            mover.abandon()
        remove_empty_packs(engine)
        return Compacted(before - engine.ledger.rows.packs_bytes(), deltas, rewritten, damaged)


def estimate(engine: Engine) -> Compacted:
    """What `compact` would do now. The caller holds a lease."""
    saved_bytes, deltas = 0, 0
    for row, frame in _deltas(engine):
        saved_bytes += row.length - frame.header.frame_length
        deltas += 1
    occupied = {pack.id: pack for pack in _occupied(engine)}
    packs = _wasteful_packs(engine)
    saved_bytes += sum(occupied[pack_id].dead_bytes for pack_id in packs)
    return Compacted(saved_bytes, deltas, len(packs), 0)


@dataclass(frozen=True, slots=True)
class _Occupied:
    id: bytes
    size_bytes: int
    live_bytes: int
    frames: int
    unreadable: int

    @property
    def dead_bytes(self) -> int:
        return max(self.size_bytes - self.live_bytes - overhead_bytes(self.frames), 0)


def _occupied(engine: Engine) -> Iterator[_Occupied]:
    return (_Occupied(*row) for row in engine.ledger.rows.occupied())


class _Mover:
    """Writes frames to new packs and moves their rows there, pack by pack."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pack: PackWriter | None = None
        self._places: dict[tuple[FrameKind, bytes], tuple[bytes, int]] = {}
        self.added = 0

    def add(self, row: FrameRow, frame: Frame) -> None:
        """Move the row's content into a frame."""
        if self._pack is None:
            self._pack = self._engine.begin_pack()
        self._pack.append(frame)
        self._places[row.kind, row.digest] = (row.pack, row.offset)
        self.added += 1
        if self._pack.size_bytes >= self._engine.settings.pack_bytes:
            self.finish()

    def finish(self) -> None:
        """Let what was added count."""
        if self._pack is not None:
            pack, self._pack = self._pack, None
            sealed = pack.seal()
            with self._engine.ledger.change() as change:
                change.move_to(sealed, self._places)
            self._places.clear()

    def abandon(self) -> None:
        """Drop what does not count."""
        if self._pack is not None:
            self._pack.abandon()


def _tell_nobody(_more_bytes: int) -> None:
    """Progress that nobody asked for."""


def _wasteful_packs(engine: Engine) -> list[bytes]:
    """The packs with much dead space, and the small ones if there are several to merge; none with damage in it."""
    wasteful, small = [], []
    for pack in _occupied(engine):
        if pack.unreadable or not pack.frames:
            continue
        if pack.dead_bytes > _MUCH_DEAD * pack.size_bytes:
            wasteful.append(pack.id)
        elif pack.size_bytes < _SMALL * engine.settings.pack_bytes:
            small.append(pack.id)
    return wasteful + (small if len(small) + len(wasteful) > 1 else [])


def _frames_of(engine: Engine, rows: Iterable[FrameRow]) -> Iterator[tuple[FrameRow, Frame]]:
    """The frames that live in a pack, each read and checked: damage is not to be moved about."""
    for row in rows:
        data = engine.frame_at(row)
        engine.content_of(data, row)
        header, payload = parse_frame(data)
        yield row, Frame.of(header, payload)


def _deltas(engine: Engine) -> Iterator[tuple[FrameRow, Frame]]:
    """Chunks that take clearly less room against another, encoded ahead by the store's threads."""
    ahead: deque[Future[tuple[FrameRow, Frame] | None]] = deque()
    for plan in plans(engine):
        ahead.append(engine.workers.code(_delta, engine, plan))
        if len(ahead) >= _AHEAD and (found := ahead.popleft().result()) is not None:
            yield found
    for future in ahead:
        if (found := future.result()) is not None:
            yield found


def _delta(engine: Engine, plan: Plan) -> tuple[FrameRow, Frame] | None:
    row = engine.ledger.rows.frame(FrameKind.CHUNK, plan.chunk.digest)
    if row is None:
        return None
    width = item_width(plan.chunk.sketch)
    for choice in plan.choices:
        try:
            raw = engine.content_at(row)
            base = Base(
                choice.digest, engine.content(FrameKind.CHUNK, choice.digest), choice.cast, choice.must_be_exact
            )
        except (DamagedError, NotFoundError):
            continue
        frame = frame_against(Piece(0, len(raw), width, plan.key), raw, row.digest, base)
        if frame is None or frame.header.frame_length > row.length * (1 - _MUST_SAVE):
            continue
        if codecs.decode_against(frame.header.codec, frame.payload, len(raw), base.raw, base.cast) == raw:
            return row, frame
    return None
