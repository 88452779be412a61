"""`stats`, `verify`, `repair`, `gc`, `compact` and `cleanup`: the store's health and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from casmodels.cli.arguments import DryRun, OptionalName, OptionalTarget
from casmodels.cli.command import Command
from casmodels.cli.exits import Exit
from casmodels.cli.help import epilog
from casmodels.cli.output import Output, Table, count, short_id, some
from casmodels.cli.session import Session, UsageError
from casmodels.cli.signing import note_unsigned
from casmodels.quantities import duration, size
from casmodels.signatures import KEPT

if TYPE_CHECKING:
    from casmodels.results import (
        CleanupResult,
        CompactResult,
        Damage,
        GcResult,
        RepairResult,
        StatsResult,
        VerifyResult,
    )

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=Command, epilog=epilog(["casmodels stats", "casmodels stats mine"], Exit.NOT_FOUND))
def stats(context: typer.Context, name: OptionalName = None) -> None:
    """Show where the bytes go."""
    session = Session.of(context)
    output = session.output
    with session.store() as store:
        result = store.stats(name)
    output.answer(result, lambda: _tell_stats(output, result, whole=name is None))


@app.command(
    cls=Command,
    epilog=epilog(
        ["casmodels verify", "casmodels verify mine --data", "casmodels verify mine --key public.pem"],
        Exit.PARTLY,
        Exit.NOT_FOUND,
        Exit.INTEGRITY,
    ),
)
def verify(
    context: typer.Context,
    target: OptionalTarget = None,
    data: Annotated[bool, typer.Option("--data", help="Read, decode and hash every stored byte.")] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="With --data: skip what was read since (2026-01-31, 7d)."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Also check that the owner of this public key signed the version."),
    ] = None,
    signature: Annotated[
        Path | None,
        typer.Option("--signature", metavar="FILE", help="With --key: check this signature, not the one kept."),
    ] = None,
) -> int:
    """Check the store; with --data every byte of it.

    Repairs nothing. What --data has read needs not be read again when it is interrupted. With --key a bare NAME means
    its newest version, and the signature is checked first.
    """
    if since is not None and not data:
        raise UsageError("--since belongs to --data", remedy="say both, or neither")
    if signature is not None and key is None:
        raise UsageError("--signature belongs to --key", remedy="say with which public key to check it")
    if key is not None and target is None:
        raise UsageError("--key is for one version", remedy="name it: `casmodels verify NAME --key FILE`")
    session = Session.of(context)
    output = session.output
    with session.store() as store, session.progress() as progress:
        signed = store.verify_signature(target, key, signature) if key is not None and target is not None else None
        if signed is not None:
            target = f"{signed.name}@{signed.version}"
        result = replace(store.verify(target, data, since, progress), signature=signed)
    output.report(result, lambda: _tell_verified(output, result))
    if signed is not None:
        note_unsigned(output, signed.unsigned)
    if result.ok:
        return Exit.DONE
    output.complain(f"{count(len(result.damaged), 'piece')} damaged or missing", "run `casmodels repair`")
    return Exit.INTEGRITY


@app.command(
    cls=Command,
    epilog=epilog(
        ["casmodels repair", "casmodels repair --from ~/.cache/huggingface --from ./backup"],
        Exit.NOT_FOUND,
        Exit.INTEGRITY,
    ),
)
def repair(
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="PATH", help="A directory or file that may have it; may be repeated."),
    ] = None,
) -> int:
    """Rebuild the index, and heal what is damaged.

    Damaged chunks are set aside and taken anew from wherever an equal file can be had: views, checkouts, the
    directories that versions were saved from, and PATH. Only bytes whose digests fit are taken.
    """
    session = Session.of(context)
    output = session.output
    with session.store() as store, session.progress() as progress:
        result = store.repair([Path(source) for source in sources or ()], progress)
    output.report(result, lambda: _tell_repaired(output, result))
    if result.unread:
        output.note(f"could not read {count(len(result.unread), 'path')}: {some(result.unread)}")
    if not result.lost:
        return Exit.DONE
    output.complain(
        f"{count(len(result.lost), 'piece')} lost", "pull or checkpoint those files again, or name copies with --from"
    )
    return Exit.INTEGRITY


@app.command(cls=Command, epilog=epilog(["casmodels gc --dry-run", "casmodels gc --views 30"]))
def gc(
    context: typer.Context,
    dry_run: DryRun = False,
    views_days: Annotated[
        int | None, typer.Option("--views", metavar="DAYS", min=0, help="Also drop views not used for so long.")
    ] = None,
) -> None:
    """Free what no version needs.

    Does what `casmodels cleanup` does first.
    """
    session = Session.of(context)
    output = session.output
    with session.store() as store, session.progress() as progress:
        result = store.gc(dry_run, views_days, progress)
    output.report(result, lambda: output.line(_collected(result)))


@app.command(cls=Command, epilog=epilog(["casmodels compact --dry-run"]))
def compact(context: typer.Context, dry_run: DryRun = False) -> None:
    """Make the store smaller: better deltas, fuller packs.

    Nothing that can be had from the store changes. It may be interrupted and run again at any time.
    """
    session = Session.of(context)
    output = session.output
    with session.store() as store, session.progress() as progress:
        result = store.compact(dry_run, progress)
    output.report(result, lambda: output.line(_compacted(result)))
    if result.damaged_packs:
        output.note(f"{count(result.damaged_packs, 'pack')} with damage left alone: run `casmodels repair`")


@app.command(cls=Command, epilog=epilog(["casmodels cleanup --dry-run"]))
def cleanup(context: typer.Context, dry_run: DryRun = False) -> None:
    """Remove unfinished downloads and temporary files.

    What others made is kept and named.
    """
    session = Session.of(context)
    output = session.output
    with session.store() as store:
        result = store.cleanup(dry_run)
    output.report(result, lambda: output.line(_cleaned(result)))
    if result.kept:
        output.note(f"kept {count(len(result.kept), 'file')} that others made: {some(result.kept)}")


def _collected(result: GcResult) -> str:
    what = f"{size(result.reclaimed_bytes)} ({count(result.chunks, 'chunk')}, {count(result.packs, 'pack')})"
    return f"would free {what}" if result.dry_run else f"freed {what} in {duration(result.seconds)}"


def _compacted(result: CompactResult) -> str:
    what = f"{size(result.reclaimed_bytes)} ({count(result.deltas, 'chunk')} anew, {count(result.packs, 'pack')})"
    return f"would save {what}" if result.dry_run else f"saved {what} in {duration(result.seconds)}"


def _cleaned(result: CleanupResult) -> str:
    what = f"{count(result.removed, 'file')}, {size(result.reclaimed_bytes)}"
    return f"would remove {what}" if result.dry_run else f"removed {what}"


def _tell_verified(output: Output, result: VerifyResult) -> None:
    _list_damage(output, result.damaged)
    scope = "every byte" if result.data else "structure only"
    verdict = "all is well" if result.ok else "damaged"
    checked = f"{count(result.versions, 'version')}, {count(result.chunks, 'chunk')}"
    if result.data:
        checked = f"{checked}, {size(result.checked_bytes)}"
    output.line(f"{verdict}, {scope}: {checked} in {duration(result.seconds)}")
    if result.signature is not None:
        signed = result.signature
        whose = f"{signed.name}@{short_id(signed.version)}"
        source = "kept in the store" if signed.source == KEPT else signed.source
        output.line(f"{whose} is signed with this key: {count(signed.files, 'file')} ({source})")
    if not result.data:
        output.line("`casmodels verify --data` reads and hashes every stored byte")


def _tell_repaired(output: Output, result: RepairResult) -> None:
    _list_damage(output, result.lost)
    output.line(
        f"{count(result.recovered_versions, 'version')} in order, {count(result.healed_chunks, 'chunk')} healed"
    )


def _list_damage(output: Output, damaged: Sequence[Damage]) -> None:
    if not damaged:
        return
    rows = [
        (
            piece.model or "",
            short_id(piece.version or ""),
            piece.path or "",
            short_id(piece.chunk or ""),
            piece.reason,
        )
        for piece in damaged
    ]
    output.table(Table(("MODEL", "VERSION", "PATH", "CHUNK", "REASON"), rows))


def _tell_stats(output: Output, result: StatsResult, *, whole: bool) -> None:
    rows = [
        ("as it was brought in", size(result.logical_bytes)),
        ("without what is twice", size(result.unique_bytes)),
        ("stored", size(result.stored_bytes) + _share(result.stored_bytes, result.logical_bytes)),
        *([("of that the index", size(result.index_bytes))] if whole else []),
        ("views", size(result.views_bytes)),
        *([("models", str(result.models))] if whole else []),
        ("versions", str(result.versions)),
        ("chunks", str(result.chunks)),
    ]
    for label, value in rows:
        output.line(f"{label + ':':<24}{value}")
    if result.by_codec:
        output.line("")
        output.table(_codecs(result.by_codec))


def _share(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.1f} %)" if whole else ""


def _codecs(by_codec: Mapping[str, Mapping[str, int]]) -> Table:
    columns = list(dict.fromkeys(column for figures in by_codec.values() for column in figures))
    headers = tuple(column.removesuffix("_bytes").upper() for column in columns)
    rows = [
        (
            codec,
            *(
                size(figures.get(column, 0)) if column.endswith("_bytes") else str(figures.get(column, 0))
                for column in columns
            ),
        )
        for codec, figures in by_codec.items()
    ]
    return Table(("CODEC", *headers), rows, frozenset(range(1, len(headers) + 1)))
