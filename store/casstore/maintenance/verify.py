"""verify: a check that changes nothing but the index's note of when a pack was last read whole."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple, TypeAlias

from casstore.closure import FrameName, closure, root_of
from casstore.digests import BLAKE3, Digest
from casstore.engine import Engine
from casstore.errors import DamagedError, NotFoundError
from casstore.frames import FrameKind
from casstore.index.order import frames_in_packs, frames_to_verify
from casstore.index.reach import Reach
from casstore.index.rows import FrameRow
from casstore.maintenance.agreement import disagreements
from casstore.maintenance.findings import Finding, findings
from casstore.maintenance.sums import falsehood
from casstore.packs import pack_path
from casstore.refs import Ref, RefKind

_BEGUN = "verify.begun_ns"
_AHEAD = 1024
_TAKEN_UP_WITHIN_NS = 7 * 86_400 * 1_000_000_000


_Progress: TypeAlias = Callable[[int], object]


class _Read(NamedTuple):
    """A frame that was read, what is wrong with it, and whether it is known to be right: of a recipe nobody knows while
    its blob cannot be read."""

    row: FrameRow
    reason: str | None
    is_right: bool


_Results: TypeAlias = Generator[_Read, None, None]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check looked at (frames' bytes, versions, chunks) and what it found."""

    findings: tuple[Finding, ...]
    broken: dict[tuple[FrameKind, bytes], str]
    checked_bytes: int
    versions: int
    chunks: int


def check(
    engine: Engine,
    refs: list[Ref] | None = None,
    *,
    data: bool = False,
    since_ns: int | None = None,
    progress: _Progress | None = None,
) -> Checked:
    """Check a store, or only the versions, and what is attached to them, that ``refs`` name. The caller holds a lease.

    Without ``data``: that journal and index agree, that every frame needed is in the index, every pack in its place
    and of its size, every record readable. With ``data`` every stored byte is read, decoded and hashed as well, and
    each file that a recipe makes is compared with its SHA-256; over the whole store that goes pack by pack, is taken up
    where an interrupted check stopped, ``since_ns`` leaves out packs that were read after it, and files that a check
    has once found right are not compared again. ``progress`` gets the numbers of bytes that were read or hashed, some
    `bytes_to_check` in all.
    """
    chosen = [ref for ref in (engine.ledger.refs.all() if refs is None else refs) if ref.is_checked]
    broken = _in_lost_packs(engine)
    found = []
    if refs is None:
        found = [Finding(None, None, None, None, reason) for reason in disagreements(engine)]
    checked_bytes = 0
    with Reach(engine.ledger.database) as needed:
        if refs is not None:
            _walk(engine, chosen, needed)
            broken = {name: reason for name, reason in broken.items() if name in needed}
        if data:
            told = progress or _tell_nobody
            results = _read_packs(engine, since_ns, told) if refs is None else _read_needed(engine, needed, told)
            with closing(results):
                for row, reason, _ in results:
                    checked_bytes += row.length
                    if reason is not None:
                        broken[row.kind, row.digest] = reason
    found += findings(engine, chosen, broken)
    chunks, _, _ = engine.ledger.rows.totals()
    versions = {ref.target for ref in chosen if ref.key.kind is RefKind.VERSION}
    return Checked(tuple(found), broken, checked_bytes, len(versions), chunks)


def bytes_to_check(engine: Engine) -> int:
    """About how many bytes a full check reads and hashes: those of packs, and of files that none has compared."""
    return engine.ledger.rows.packs_bytes() + engine.ledger.rows.new_blobs_bytes()


def _tell_nobody(_bytes: int) -> None:
    pass


def _in_lost_packs(engine: Engine) -> dict[tuple[FrameKind, bytes], str]:
    """The frames in packs that are missing or have another size than when they were sealed."""
    lost: dict[bytes, tuple[int, str]] = {}
    for pack_id, size_bytes in engine.ledger.rows.packs_to_verify(_FOREVER_NS):
        path = pack_path(engine.layout.packs, pack_id)
        try:
            actual = path.stat().st_size
        except FileNotFoundError:
            reason, actual = f"its pack {path.name} is missing", 0
        else:
            reason = f"its pack {path.name} has {actual} bytes instead of {size_bytes}"
        if actual != size_bytes:
            lost[pack_id] = actual, reason
    broken = {}
    if lost:
        with frames_in_packs(engine.ledger.database, lost) as rows:
            for row in rows:
                actual, reason = lost[row.pack]
                if row.offset + row.length > actual:
                    broken[row.kind, row.digest] = reason
    return broken


_FOREVER_NS = 1 << 62


def _read_packs(engine: Engine, since_ns: int | None, progress: _Progress) -> _Results:
    """Read pack by pack, noting each that is right, so that a check that is interrupted can be taken up.

    What a recipe says of its blob was right for ever if it was right once, as long as the chunks are what they are
    called: so files are compared once, and not again each time.
    """
    ledger = engine.ledger
    begun_ns = _begun_ns(engine)
    with frames_to_verify(ledger.database, since_ns if since_ns is not None else begun_ns) as rows:
        for pack_id, rows_of_pack in groupby(rows, attrgetter("pack")):
            read_ns = time.time_ns()
            right = True
            for read in _read(engine, rows_of_pack, progress, compare=not ledger.rows.was_verified(pack_id)):
                right = right and read.is_right
                yield read
            if right:
                with ledger.locked():
                    ledger.rows.set_verified(pack_id, read_ns)
    with ledger.locked():
        ledger.meta.put(_BEGUN, None)


def _begun_ns(engine: Engine) -> int:
    """When the check began that this one goes on with; now, and noted, if there is none or it is long ago."""
    ledger = engine.ledger
    noted, now_ns = ledger.meta.get(_BEGUN), time.time_ns()
    if noted is not None and now_ns - int(noted) < _TAKEN_UP_WITHIN_NS:
        return int(noted)
    with ledger.locked():
        ledger.meta.put(_BEGUN, str(now_ns))
    return now_ns


def _walk(engine: Engine, refs: list[Ref], needed: Reach) -> None:
    walked: set[bytes] = set()
    for ref in refs:
        needed.add(_closure(engine, ref, walked))


def _closure(engine: Engine, ref: Ref, walked: set[bytes]) -> Iterator[FrameName]:
    """What a version needs, past records that cannot be read: `findings` meets those again, and names them."""
    last: FrameName | None = None
    while True:
        try:
            for last in closure(engine, *root_of(ref), walked):
                yield last
        except (DamagedError, NotFoundError):
            if last is not None and last[0] is FrameKind.RECIPE and last[1] not in walked:
                walked.add(last[1])
                continue
        return


def _read_needed(engine: Engine, needed: Reach, progress: _Progress) -> _Results:
    with needed.frames() as rows:
        yield from _read(engine, rows, progress, compare=True)


def _read(engine: Engine, rows: Iterable[FrameRow], progress: _Progress, *, compare: bool) -> _Results:
    """Decode frames; with ``compare`` the blobs that recipes among them make are hashed as well."""
    ahead: deque[tuple[FrameRow, Future[str | None]]] = deque()
    ahead_bytes = 0
    for row in rows:
        ahead.append((row, engine.workers.code(_reason, engine, row)))
        ahead_bytes += row.raw_length
        while ahead_bytes > engine.settings.read_ahead_bytes or len(ahead) > _AHEAD:
            done, future = ahead.popleft()
            ahead_bytes -= done.raw_length
            yield _judged(engine, done, future.result(), progress, compare)
    for row, future in ahead:
        yield _judged(engine, row, future.result(), progress, compare)


def _judged(engine: Engine, row: FrameRow, reason: str | None, progress: _Progress, compare: bool) -> _Read:
    """What is said of a frame that was decoded."""
    progress(row.length)
    if reason is not None or row.kind is not FrameKind.RECIPE or not compare:
        return _Read(row, reason, reason is None)
    try:
        reason = falsehood(engine, Digest(BLAKE3, row.digest), progress)
    except (DamagedError, NotFoundError):
        return _Read(row, None, is_right=False)  # what is wrong is said of the chunk
    return _Read(row, reason, reason is None)


def _reason(engine: Engine, row: FrameRow) -> str | None:
    try:
        engine.content_at(row)
    except DamagedError as error:
        # It may have been stored again elsewhere since the rows were listed.
        now = engine.ledger.rows.frame(row.kind, row.digest)
        return error.reason if now is None or now == row else _reason(engine, now)
    return None
