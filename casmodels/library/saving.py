"""Saving a directory or file as a new version of a name."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from casmodels.library.context import Context
from casmodels.library.model_types import type_metadata
from casmodels.library.names import check_own_name, find, newest, versions_of
from casmodels.library.origins import SINGLE_FILE
from casmodels.progress import Progress, SilentProgress
from casmodels.results import CheckpointResult
from casmodels.sources.local import LocalEntry, LocalListing, scan
from casmodels.specs import parse_model_type
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.errors import InvalidInputError
from casstore.index.places import FileState, Place, PlaceKind, Places
from casstore.refs import RefKey, RefKind, check_label
from casstore.transactions import Transaction
from casstore.trees import Entry, EntryKind, Tree
from casstore.versions import Version


@dataclass(frozen=True, slots=True)
class SaveOptions:
    """How to save: message, tags to set, whether to pin, the version it is based on, whether to read every file,
    whether a version is made only if something differs from the newest one, and the model's type, if it is not to be
    that of the version before."""

    message: str = ""
    tags: Sequence[str] = ()
    pin: bool = False
    base: str | None = None
    rehash: bool = False
    only_changes: bool = False
    model_type: str | None = None


def checkpoint(
    context: Context, name: str, path: Path | None, options: SaveOptions, progress: Progress | None
) -> CheckpointResult:
    """Save a directory or file under a name of the user's own; without a path, the place it last came from.

    Raises NameTakenError, InvalidInputError, NotFoundError, ChangedWhileReadError.
    """
    if options.model_type is not None:
        options = replace(options, model_type=parse_model_type(options.model_type).value)
    # Looked at before a store is made, which must not come to lie in the directory.
    listing = scan(path, outside=[context.path]) if path is not None else None
    engine = context.engine(create=True)
    with engine.writing() as transaction:
        check_own_name(transaction, context.registry, name)
        if listing is None:
            listing = scan(_last_place(context, name), outside=[engine.path])
        base = find(transaction, context.registry, options.base).id if options.base is not None else None
        metadata = {"kind": "checkpoint"}
        saver = Saver(engine.places, transaction, progress or SilentProgress(), rehash=options.rehash)
        return saver.save(name, listing, options, metadata, base)


class Saver:
    """Puts a listing of local files in as a version; files that are surely unchanged are not read."""

    def __init__(self, places: Places, transaction: Transaction, progress: Progress, *, rehash: bool = False) -> None:
        self._places = places
        self._transaction = transaction
        self._progress = progress
        self._rehash = rehash
        self._states: dict[str, FileState] = {}
        self._read_files = 0

    def save(
        self,
        name: str,
        listing: LocalListing,
        options: SaveOptions,
        metadata: Mapping[str, Any],
        base: Digest | None = None,
    ) -> CheckpointResult:
        """Make the version, its tags and its pin, and commit."""
        begun_ns, begun = time.time_ns(), time.monotonic()
        if listing.is_file:
            metadata = {**metadata, SINGLE_FILE: True}
        place = self._places.load(listing.root)
        for tag in options.tags:
            check_tag(self._transaction, name, tag, None)
        files = [entry for entry in listing.entries if entry.kind is EntryKind.FILE]
        self._progress.expect(len(files), listing.size_bytes)
        parent = base or self._parent(name, place)
        if parent is not None:
            self._transaction.came_from(parent)
        tree = Tree.of([self._entry(entry, place) for entry in listing.entries])
        last = newest(self._transaction, name)
        version = Version(
            tree=self._transaction.add_tree(tree),
            parent=parent,
            source=listing.root.resolve().as_uri(),
            created_ns=begun_ns,
            message=options.message,
            metadata={**type_metadata(self._transaction, name, options.model_type), **metadata, "name": name},
        )
        if options.only_changes and last is not None and last.version.tree == version.tree:
            parent = digest = last.id
        else:
            digest = self._transaction.add_version(version)
            self._transaction.set_ref(RefKey(RefKind.VERSION, name, digest.hex), digest)
        for tag in options.tags:
            set_tag(self._transaction, name, tag, digest)
        if options.pin:
            self._transaction.set_ref(RefKey(RefKind.PIN, name, digest.hex), digest)
        self._transaction.commit()
        # What is saved from a view by category has become the user's own.
        kind = PlaceKind.CHECKPOINT if place is None or place.kind is PlaceKind.CATEGORY else place.kind
        self._places.save(Place(str(listing.root.resolve()), kind, name, digest, self._states, begun_ns))
        return CheckpointResult(
            name=name,
            version=digest.hex,
            parent=parent.hex if parent is not None else None,
            files=len(tree.files),
            size_bytes=tree.size_bytes,
            stored_bytes=self._transaction.added_bytes,
            seconds=time.monotonic() - begun,
            read_files=self._read_files,
            unchanged=parent is not None and self._transaction.version(parent).tree == version.tree,
        )

    def _entry(self, entry: LocalEntry, place: Place | None) -> Entry:
        if entry.kind is EntryKind.LINK:
            return Entry.link(entry.path, entry.target)
        if entry.kind is EntryKind.DIRECTORY:
            return Entry.directory(entry.path, entry.mode)
        known = self._known(entry, place)
        task = self._progress.start(entry.path, entry.size_bytes)
        if known is None:
            stored = self._transaction.add_file(entry.source, entry.path, progress=task.advance)
            known = FileState(entry.size_bytes, entry.mtime_ns, entry.inode, stored.info.sha256)
            self._read_files += 1
            size_bytes = stored.info.size_bytes
        else:
            task.advance(entry.size_bytes)
            size_bytes = entry.size_bytes
        task.done()
        self._states[entry.path] = known
        return Entry.file(entry.path, known.blob, size_bytes, entry.mode)

    def _known(self, entry: LocalEntry, place: Place | None) -> FileState | None:
        """What the file surely still is, if the store has that."""
        state = place.files.get(entry.path) if place is not None else None
        if state is None or place is None or self._rehash:
            return None
        if not state.matches(entry.source.stat(), place.saved_ns):
            return None
        return state if self._transaction.find_blob(state.blob) is not None else None

    def _parent(self, name: str, place: Place | None) -> Digest | None:
        refs = {ref.target for ref in versions_of(self._transaction, name)}
        if place is not None and place.name == name and place.version in refs:
            # One whose record is damaged is no parent: nobody knows what it was.
            parent = self._transaction.version_unless_lost(place.version)
            if parent is not None:
                return parent.id
        last = newest(self._transaction, name)
        return last.id if last is not None else None


def _last_place(context: Context, name: str) -> Path:
    for place in context.engine().places.all(name=name):
        if not place.kind.is_view:
            return Path(place.path)
    raise InvalidInputError(
        f"no directory is known for {name}", remedy=f"name one: `casmodels checkpoint {name} ./dir`"
    )


def set_tag(transaction: Transaction, name: str, tag: str, digest: Digest) -> None:
    """Give a version a tag with the commit. Raises InvalidInputError, then too: another may set it meanwhile."""
    transaction.set_ref(check_tag(transaction, name, tag, digest), digest)
    transaction.require(lambda: check_tag(transaction, name, tag, digest))


def check_tag(reader: Reader, name: str, tag: str, digest: Digest | None) -> RefKey:
    """The key of a tag that may be set to a version (None: one that is yet to be made).

    Raises InvalidInputError when the tag is no word or names another version already: a tag does not move.
    """
    key = RefKey(RefKind.TAG, name, check_label(tag))
    before = reader.ref(key)
    if before is not None and before.target != digest:
        raise InvalidInputError(
            f"{name} has the tag {tag!r} already, on {before.target.hex[:12]}, and a tag does not move",
            remedy="choose another tag, or remove that version",
        )
    return key
