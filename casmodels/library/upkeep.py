"""Upkeep: verify, repair, gc, compact."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from casmodels.library import healing, viewing
from casmodels.library.context import Context
from casmodels.library.leftovers import cleanup
from casmodels.library.names import existing_name, find
from casmodels.progress import Progress, SilentProgress
from casmodels.results import CompactResult, Damage, GcResult, RepairResult, VerifyResult
from casmodels.specs import parse_versioned
from casstore.catalog import Reader
from casstore.errors import InvalidInputError
from casstore.frames import FrameKind
from casstore.layout import Layout
from casstore.maintenance import gc as engine_gc
from casstore.maintenance import heal as engine_heal
from casstore.maintenance import repair as engine_repair
from casstore.maintenance import verify as engine_verify
from casstore.maintenance.findings import Broken, Finding
from casstore.maintenance.leftovers import dead_partials
from casstore.refs import Ref, RefKind
from casstore.store import Store as Engine

_AGE = re.compile(r"(\d{1,9})\s*([smhdw])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def verify(
    context: Context, target: str | None, *, data: bool, since: str | None, progress: Progress | None
) -> VerifyResult:
    """Check the store, or one name or version: its structure, and with ``data`` every stored byte.

    ``since`` (an age as ``7d``, or a date) leaves out what was read whole after that; it is for the whole store.
    """
    begun = time.monotonic()
    since_ns = _parse_since(since) if since is not None else None
    if target is not None and since is not None:
        raise InvalidInputError("--since is for the whole store", remedy="leave out the name or --since")
    with context.engine().reading() as reader:
        parts = context.engine().engine
        refs = _refs(reader, context, target) if target is not None else None
        total = engine_verify.bytes_to_check(parts) if data and refs is None else None
        task = progress.start("verify", total) if progress is not None and data else None
        advance = task.advance if task is not None else None
        checked = engine_verify.check(parts, refs, data=data, since_ns=since_ns, progress=advance)
        if task is not None:
            task.done()
    return VerifyResult(
        ok=not checked.findings and not checked.broken,
        data=data,
        checked_bytes=checked.checked_bytes,
        damaged=damages(checked.findings, checked.broken),
        versions=checked.versions,
        chunks=checked.chunks,
        seconds=time.monotonic() - begun,
    )


def repair(context: Context, given: Sequence[Path], progress: Progress | None) -> RepairResult:
    """Rebuild the index from packs and journal, read everything, set aside what is damaged, and heal it.

    It is healed from files in ``given``, and wherever the store knows that versions came from or went to.
    """
    layout = Layout(context.path)
    layout.check()
    healing.check_given(given, layout.root)
    context.close()
    rebuilt = engine_repair.rebuild(layout)
    engine = context.engine()
    task = progress.start("repair", engine_verify.bytes_to_check(engine.engine)) if progress is not None else None
    with engine.writing() as transaction:
        advance = task.advance if task is not None else None
        checked = engine_repair.mend(engine.engine, instead=transaction.add_recipe, progress=advance)
        transaction.commit()
    with engine.reading() as reader:
        lost = engine_heal.find_lost(engine.engine)
        known = healing.known_paths(reader, rebuilt.places, context.view_path) if lost else []
    if task is not None:
        task.done()
    unread = _heal(engine, lost, given, known, progress) if lost else []
    with engine.reading() as reader:
        rows = engine.engine.ledger.rows
        return RepairResult(
            recovered_versions=len(reader.refs(RefKind.VERSION)),
            healed_chunks=sum(rows.is_live(FrameKind.CHUNK, chunk) for chunk in lost.chunks),
            lost=damages(engine_heal.still_lost(engine.engine, checked), {}),
            unread=tuple(unread),
        )


def _heal(
    engine: Engine, lost: engine_heal.Lost, given: Sequence[Path], known: Sequence[Path], progress: Progress | None
) -> list[str]:
    """Take what is lost from wherever it lies; gives the paths that could not be read."""
    with engine.writing() as transaction:
        healer = engine_heal.Healer(transaction, lost)
        search = healing.Search(healer, lost, engine.path, progress or SilentProgress())
        search.through(given, known)
        transaction.commit()
        engine_heal.revive(engine.engine)
    return search.unread


def collect(context: Context, *, dry_run: bool, views_days: int | None, progress: Progress | None) -> GcResult:
    """What `cleanup` does, then drop what no ref needs; with ``views_days`` also views not used for so long."""
    begun = time.monotonic()
    engine = context.existing()
    if engine is None:
        return GcResult(0, 0, 0, 0.0, dry_run)
    reclaimed = cleanup(context, dry_run=dry_run).reclaimed_bytes
    if views_days is not None:
        reclaimed += viewing.drop_unused(context, views_days, dry_run=dry_run).reclaimed_bytes
    if dry_run:
        with engine.reading():
            collected = engine_gc.estimate(engine.engine, without=dead_partials(engine.engine))
    else:
        told = progress or SilentProgress()
        collected = engine_gc.collect(
            engine.engine, waiting=lambda: told.start("waiting for other commands to end", None)
        )
    return GcResult(
        reclaimed + collected.reclaimed_bytes, collected.chunks, collected.packs, time.monotonic() - begun, dry_run
    )


def compact(context: Context, *, dry_run: bool, progress: Progress | None) -> CompactResult:
    """Store chunks against better bases, merge small packs and drop dead space."""
    from casstore.maintenance import compact as engine_compact

    begun = time.monotonic()
    engine = context.existing()
    if engine is None:
        return CompactResult(0, 0, 0, 0, 0.0, dry_run)
    if dry_run:
        with engine.reading():
            done = engine_compact.estimate(engine.engine)
    else:
        task = progress.start("compact", engine.engine.ledger.rows.packs_bytes()) if progress is not None else None
        done = engine_compact.compact(engine.engine, progress=task.advance if task is not None else None)
        if task is not None:
            task.done()
    seconds = time.monotonic() - begun
    return CompactResult(done.reclaimed_bytes, done.deltas, done.packs, done.damaged_packs, seconds, dry_run)


def damages(findings: Iterable[Finding], broken: Broken) -> tuple[Damage, ...]:
    """Findings as results, and frames that are broken though no version needs them."""
    found = [
        Damage(
            finding.name,
            finding.version.hex if finding.version is not None else None,
            finding.path,
            f"blake3:{finding.frame}" if finding.frame is not None else None,
            finding.reason,
        )
        for finding in findings
    ]
    if not found:
        found = [Damage(None, None, None, f"blake3:{digest.hex()}", reason) for (_, digest), reason in broken.items()]
    return tuple(found)


def _refs(reader: Reader, context: Context, target: str) -> list[Ref]:
    """The versions that are meant, and what is attached to them."""
    wanted = parse_versioned(target)
    if wanted.label is None and not wanted.back:
        name = existing_name(reader, context.registry, wanted.name)
        versions = reader.refs(RefKind.VERSION, name)
    else:
        found = find(reader, context.registry, target)
        name = found.name
        versions = [ref for ref in reader.refs(RefKind.VERSION, name) if ref.target == found.id]
    chosen = {ref.target for ref in versions}
    return [*versions, *(ref for ref in reader.refs(RefKind.PIN, name) if ref.key.attached_to in chosen)]


def _parse_since(text: str) -> int:
    """A time in ns since 1970 UTC from an age (``90m``, ``7d``) or an ISO date. Raises InvalidInputError."""
    age = _AGE.match(text.strip())
    if age is not None:
        return max(time.time_ns() - int(age[1]) * _SECONDS[age[2]] * 1_000_000_000, 0)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(
            f"{text!r} is neither an age nor a date", remedy="write 7d, 12h, or 2026-01-31"
        ) from None
    seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return min(max(int(seconds * 1e9), 0), time.time_ns())
