"""Pulling what is no Hub repo: a file behind a URL, a file or directory on this machine."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from casmodels.addresses import UrlModel
from casmodels.errors import NameTakenError, OfflineError, WrongBytesError
from casmodels.families import FAMILIES
from casmodels.integrity import file_digest
from casmodels.library.leftovers import unpacking_path
from casmodels.library.model_types import type_metadata
from casmodels.library.names import newest
from casmodels.library.pulling import Pull, check_pull_name
from casmodels.library.reports import DownloadReport
from casmodels.library.saving import SaveOptions, Saver
from casmodels.results import PullResult, PullStatus
from casmodels.sources.gzipped import is_gzip_name, unpack, unpacked_name
from casmodels.sources.local import LocalListing, scan
from casmodels.sources.url import UrlSource
from casstore import files
from casstore.digests import SHA256, Digest
from casstore.errors import InvalidInputError
from casstore.refs import RefKey, RefKind, check_name
from casstore.transactions import Transaction
from casstore.trees import Entry, EntryKind, Tree
from casstore.versions import Version

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def pull_url(pull: Pull, model: UrlModel) -> PullResult:
    """One file behind a URL. Raises as `UrlSource` and `Downloader`, InvalidInputError, OfflineError."""
    _refuse_hub_options(pull)
    source = UrlSource.parse(model.url, pull.options.checksum)
    name = pull.options.name
    if name is None:
        name = _name_from(source.file_name())
    with pull.engine.writing() as transaction:
        check_pull_name(transaction, pull, name, source.clean_url)
        cached = _cached(pull, transaction, name, source)
        if cached is not None:
            return cached
        if pull.options.offline:
            raise OfflineError(
                f"{source.clean_url} is not here, and the network is not to be used", remedy="run without --offline"
            )
        if pull.options.dry_run:
            return _planned(pull, name, 0, "how large a URL is shows when it is fetched")
        report = DownloadReport(pull.progress, source.clean_url)
        with pull.downloader(1, report) as downloader:
            (outcome,) = downloader.fetch_all([source.download()])
            report.end(outcome.download)
            if outcome.error is not None:
                pull.heed()
                report.log(source.file_name(), "failed", 0, error=outcome.error.message)
                raise outcome.error
            assert outcome.downloaded is not None
            downloaded = outcome.downloaded
            try:
                metadata = {
                    "kind": "url",
                    "name": name,
                    "checksum": str(downloaded.sha256),
                    "vouched_by": "user" if source.checksum is not None else "first download",
                    **type_metadata(transaction, name, pull.options.model_type),
                }
                result = _save_file(
                    pull, transaction, name, downloaded.path, source.file_name(downloaded), source.clean_url, metadata
                )
            except WrongBytesError:
                downloaded.discard()  # the next run would find it complete, and just as wrong
                raise
            except BaseException:
                if pull.is_cancelled:
                    downloaded.withdraw()
                else:
                    downloaded.release()
                raise
            report.log(source.file_name(downloaded), "completed", downloaded.size_bytes, downloaded.seconds)
            downloaded.discard()
            return replace(result, downloaded_bytes=downloaded.downloaded_bytes)


def pull_local(pull: Pull, path: Path) -> PullResult:
    """A directory or a file on this machine. Raises as `scan`, and WrongBytesError for a checksum that differs."""
    _refuse_hub_options(pull)
    listing = scan(path, outside=[pull.engine.path])
    name = pull.options.name or _name_from(listing.root.resolve().name)
    with pull.engine.writing() as transaction:
        _check_directory_name(transaction, pull, name)
        if pull.options.checksum is not None:
            _check_file(pull, listing, Digest.parse(pull.options.checksum, default=SHA256))
        if pull.options.dry_run:
            return replace(
                _planned(pull, name, listing.size_bytes),
                files=sum(entry.kind is EntryKind.FILE for entry in listing.entries),
            )
        origin = listing.root.resolve().as_uri()
        metadata = {"kind": "directory", "name": name}
        if listing.is_file and is_gzip_name(listing.root.name):
            kept_type = type_metadata(transaction, name, None)
            return _save_file(pull, transaction, name, listing.root, listing.root.name, origin, metadata | kept_type)
        saver = Saver(pull.engine.places, transaction, pull.progress, rehash=pull.options.force)
        saved = saver.save(name, listing, SaveOptions(only_changes=True), metadata)
        return PullResult(
            model=pull.model,
            repo=None,
            status=PullStatus.CACHED if saved.unchanged else PullStatus.COMPLETED,
            name=name,
            version=saved.version,
            files=saved.files,
            size_bytes=saved.size_bytes,
            stored_bytes=saved.stored_bytes,
            vouched_by="user" if pull.options.checksum is not None else None,
        )


def _save_file(
    pull: Pull,
    transaction: Transaction,
    name: str,
    path: Path,
    file_name: str,
    origin: str,
    metadata: Mapping[str, Any],
) -> PullResult:
    """Store one file, unpacked if it is gzip, as a version of its own."""
    if is_gzip_name(file_name):
        file_name = unpacked_name(file_name)
        unpacked = unpacking_path(pull.engine.layout.downloads, transaction.lease)
        try:
            unpack(path, unpacked, name=pull.model, progress=pull.heed)
            stored = transaction.add_file(unpacked, file_name, progress=pull.heed)
        finally:
            files.unlink(unpacked)
    else:
        stored = transaction.add_file(path, file_name, progress=pull.heed)
    entry = Entry.file(file_name, stored.info.sha256, stored.info.size_bytes)
    before = newest(transaction, name)
    version = Version(
        tree=transaction.add_tree(Tree.of([entry])),
        parent=before.id if before is not None else None,
        source=origin,
        created_ns=time.time_ns(),
        metadata=dict(metadata),
    )
    is_new = before is None or before.version != replace(
        version, parent=before.version.parent, created_ns=before.version.created_ns
    )
    if is_new:
        digest = transaction.add_version(version)
        transaction.set_ref(RefKey(RefKind.VERSION, name, digest.hex), digest)
    else:
        assert before is not None
        digest = before.id
    transaction.commit()
    return PullResult(
        model=pull.model,
        repo=None,
        status=PullStatus.COMPLETED if is_new or pull.options.force else PullStatus.CACHED,
        name=name,
        version=digest.hex,
        files=1,
        size_bytes=entry.size_bytes,
        stored_bytes=transaction.added_bytes,
        vouched_by=metadata.get("vouched_by"),
    )


def _refuse_hub_options(pull: Pull) -> None:
    """Raise InvalidInputError for a choice among a repo's files or states, rather than take everything all the same."""
    options = pull.options
    given = {
        "--revision": options.revision,
        "--include": options.include,
        "--exclude": options.exclude,
        "files": options.files,
    }
    for option, value in given.items():
        if value:
            raise InvalidInputError(f"{option} is for models of the Hub, and {pull.model} is none")


def _planned(pull: Pull, name: str, size_bytes: int, *warnings: str) -> PullResult:
    """What a dry run says."""
    return PullResult(
        pull.model, None, PullStatus.COMPLETED, name=name, files=1, size_bytes=size_bytes, warnings=warnings
    )


def _cached(pull: Pull, transaction: Transaction, name: str, source: UrlSource) -> PullResult | None:
    """What the store has of a URL, unless another checksum is asked for."""
    found = newest(transaction, name)
    if found is None or pull.options.force or found.version.source != source.clean_url:
        return None
    if source.checksum is not None and found.version.metadata.get("checksum") != str(source.checksum):
        return None
    if pull.options.model_type not in (None, found.version.metadata.get("type")):
        return None
    tree = transaction.tree(found.version.tree)
    return PullResult(
        model=pull.model,
        repo=None,
        status=PullStatus.CACHED,
        name=name,
        version=found.id.hex,
        files=len(tree.files),
        size_bytes=tree.size_bytes,
        vouched_by=found.version.metadata.get("vouched_by"),
        warnings=() if source.checksum is not None else ("a URL is not asked again; --force fetches it anew",),
    )


def _check_directory_name(transaction: Transaction, pull: Pull, name: str) -> None:
    """A directory may stand in for a repo of the Hub (that is how a hub is filled), but not for an alias."""
    check_name(name)
    spec = pull.context.registry.find(name)
    if spec is not None and spec not in FAMILIES and spec.huggingface_id != name:
        raise NameTakenError(f"the name {name!r} is an alias of {spec.huggingface_id}", remedy="choose another --name")
    before = newest(transaction, name)
    if before is not None and before.version.metadata.get("kind") != "directory":
        raise NameTakenError(
            f"the name {name!r} is taken by versions from {before.version.source}", remedy="choose another --name"
        )


def _check_file(pull: Pull, listing: LocalListing, expected: Digest) -> None:
    """Raise WrongBytesError unless the single file has the digest, InvalidInputError for a directory."""
    if not listing.is_file:
        raise InvalidInputError("a checksum is for a single file, and this is a directory")
    actual = file_digest(listing.root, expected.algorithm, pull.heed)
    if actual != expected:
        raise WrongBytesError(f"{listing.root} has digest {actual}, not {expected}")


def _name_from(file_name: str) -> str:
    """A name for a file or directory: its own without its last extension, other characters turned to ``-``."""
    stem = unpacked_name(file_name) if is_gzip_name(file_name) else file_name
    stem = Path(stem).stem if "." in stem.strip(".") else stem
    name = re.sub(r"-{2,}", "-", _NOT_A_NAME.sub("-", stem)).strip("-._")
    if not name:
        raise InvalidInputError(f"no name can be made from {file_name!r}", remedy="give one with --name")
    return check_name(name)
