"""Taking in a folder of models that another program kept."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from casmodels.cancellation import Cancellation
from casmodels.errors import InterruptedPullError, with_remedy
from casmodels.library.context import Context
from casmodels.library.download_log import logged
from casmodels.library.names import Found, newest, readable, versions_of
from casmodels.library.options import PullOptions
from casmodels.library.presence import has_all
from casmodels.library.pulling import threads_of
from casmodels.progress import Progress
from casmodels.results import TakeInResult, TakeInStatus
from casmodels.sources.local import LocalEntry, LocalListing, scan
from casmodels.sources.model_folders import ModelDirectory, OtherEntry, find_models
from casstore.catalog import Reader
from casstore.digests import GIT_BLOB, SHA256, Digest
from casstore.errors import DamagedError, NotFoundError, StoreError
from casstore.refs import RefKey, RefKind
from casstore.store import Store as Engine
from casstore.transactions import Transaction
from casstore.trees import Entry, EntryKind, Tree
from casstore.versions import Version

_NOT_OF_THE_MODEL: Final = re.compile(r"(\.cache/huggingface|\.git)(/|\Z)|.*\.incomplete\Z", re.DOTALL)
"""What clients leave beside a model's files."""
_SHA256_NAME: Final = re.compile(r"[0-9a-f]{64}\Z")
_GIT_NAME: Final = re.compile(r"[0-9a-f]{40}\Z")


def take_in(
    context: Context, folder: Path, options: PullOptions, progress: Progress | None, cancellation: Cancellation
) -> list[TakeInResult]:
    """Save each model in a folder as a version under its Hub id; the folder itself is not written to.

    Of ``options`` the workers and the priority count. Raises as `find_models`, and InterruptedPullError.
    """
    told = cancellation.heeded(logged(progress, context.logs))
    found = find_models(folder, context.registry, outside=[context.path, context.view_path])
    if not any(isinstance(one, ModelDirectory) for one in found):
        return [_left_out(one) for one in found if isinstance(one, OtherEntry)]
    _, coders, initializer = threads_of(context, options)
    with context.working_engine(coders, initializer, create=True) as engine:
        results = []
        for one in found:
            cancellation.check()
            result = _left_out(one) if isinstance(one, OtherEntry) else _take(context, engine, one, told)
            results.append(result)
    return results


def _left_out(other: OtherEntry) -> TakeInResult:
    return TakeInResult(str(other.path), TakeInStatus.LEFT_OUT, reason=other.reason)


def _take(context: Context, engine: Engine, model: ModelDirectory, progress: Progress) -> TakeInResult:
    begun = time.monotonic()
    try:
        with engine.writing() as transaction:
            known = _known(transaction, model)
            if known is not None:
                result = _cached(transaction, model, known)
            else:
                listing = scan(model.path, outside=[context.path])
                result = _save(transaction, model, listing, progress)
    except InterruptedPullError:
        raise
    except StoreError as error:
        reason = with_remedy(error.message, error.remedy)
        result = TakeInResult(str(model.path), TakeInStatus.FAILED, model.repo, reason=reason)
    _log(progress, result, time.monotonic() - begun)
    return result


def _known(reader: Reader, model: ModelDirectory) -> Found | None:
    """The version that is as good as a directory: one of the same commit, else any that came from the Hub itself."""
    for found in readable(reader, model.repo):
        metadata = found.version.metadata
        is_same = found.version.revision == model.commit if model.commit is not None else "upstream_files" in metadata
        with contextlib.suppress(DamagedError, NotFoundError):  # what is lost is taken in again
            if is_same and has_all(reader, reader.tree(found.version.tree)):
                return found
    return None


def _cached(reader: Reader, model: ModelDirectory, found: Found) -> TakeInResult:
    tree = reader.tree(found.version.tree)
    return TakeInResult(
        str(model.path), TakeInStatus.CACHED, found.name, found.id.hex, len(tree.files), tree.size_bytes
    )


def _save(transaction: Transaction, model: ModelDirectory, listing: LocalListing, progress: Progress) -> TakeInResult:
    entries = [entry for entry in listing.entries if not _NOT_OF_THE_MODEL.match(entry.path)]
    progress.expect(len(entries), sum(entry.size_bytes for entry in entries))
    before = newest(transaction, model.repo)
    if before is not None:
        transaction.came_from(before.id)
    tree = Tree.of([_entry(transaction, entry, progress, is_blob=listing.is_snapshot) for entry in entries])
    digest = transaction.add_tree(tree)
    if model.commit is None:
        for found in readable(transaction, model.repo):
            if found.version.tree == digest:
                return _cached(transaction, model, found)
    refs = versions_of(transaction, model.repo)
    version = Version(
        tree=digest,
        parent=refs[-1].target if refs else None,
        source=f"hf://{model.repo}",
        created_ns=time.time_ns(),
        metadata=_metadata(model),
    )
    version_id = transaction.add_version(version)
    transaction.set_ref(RefKey(RefKind.VERSION, model.repo, version_id.hex), version_id)
    transaction.commit()
    return replace(
        _cached(transaction, model, Found(model.repo, version_id, version)),
        status=TakeInStatus.COMPLETED,
        stored_bytes=transaction.added_bytes,
    )


def _metadata(model: ModelDirectory) -> dict[str, Any]:
    """As a pull's, without ``upstream_files``: what the Hub lists is not known, so a pull still asks for it."""
    metadata = {
        "kind": "hub",
        "name": model.repo,
        "repo": model.repo,
        "requested_revision": model.revision,
        "taken_from": model.path.resolve().as_uri(),
    }
    return metadata | ({"revision": model.commit} if model.commit is not None else {})


def _entry(transaction: Transaction, entry: LocalEntry, progress: Progress, *, is_blob: bool) -> Entry:
    if entry.kind is EntryKind.LINK:
        return Entry.link(entry.path, entry.target)
    if entry.kind is EntryKind.DIRECTORY:
        return Entry.directory(entry.path, entry.mode)
    task = progress.start(entry.path, entry.size_bytes)
    try:
        expected = _promised(entry.source.name) if is_blob else None
        stored = transaction.add_file(entry.source, entry.path, expected, task.advance)
    finally:
        task.done()
    return Entry.file(entry.path, stored.info.sha256, stored.info.size_bytes)  # permissions are as those of a pull


def _promised(blob_name: str) -> Digest | None:
    """The digest that the Hub's client calls a blob after."""
    if _SHA256_NAME.match(blob_name):
        return Digest(SHA256, bytes.fromhex(blob_name))
    return Digest(GIT_BLOB, bytes.fromhex(blob_name)) if _GIT_NAME.match(blob_name) else None


def _log(progress: Progress, result: TakeInResult, seconds: float) -> None:
    progress.log(
        {
            "logger": "casmodels.take_in",
            "level": "error" if result.status is TakeInStatus.FAILED else "info",
            "model": result.name,
            "status": result.status.value,
            "path": result.path,
            "size_bytes": result.size_bytes,
            "duration_seconds": round(seconds, 3),
            "error": result.reason,
        }
    )
