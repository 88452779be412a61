"""Versions that were made from another version of the store: some of its files changed, the others as they are."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from casmodels.library.context import Context
from casmodels.library.model_types import licence_of, type_of
from casmodels.library.names import Found, check_own_name, find, newest
from casmodels.library.origins import SINGLE_FILE
from casmodels.library.quantised_record import QUANTISED, record_of
from casmodels.results import CheckpointResult, Quantised
from casstore.refs import RefKey, RefKind
from casstore.trees import Entry, EntryKind, Tree
from casstore.versions import Version

_KEPT: Final = ("pipeline_tag", SINGLE_FILE)
_MODE: Final = 0o644


def derive(
    context: Context,
    name: str,
    changed: Mapping[str, bytes],
    removed: Collection[str],
    quantised: Quantised,
    message: str = "",
) -> CheckpointResult:
    """Save a quantised version under a name of the user's own: its parent's files, but for those that are ``changed``
    or new, and those that are ``removed``. Where one of these is a link, the file behind it goes with it, unless
    another link leads there.

    Raises NameTakenError, InvalidInputError, NotFoundError, FullError.
    """
    begun_ns, begun = time.time_ns(), time.monotonic()
    with context.engine().writing() as transaction:
        check_own_name(transaction, context.registry, name)
        parent = find(transaction, context.registry, quantised.parent)
        transaction.came_from(parent.id)
        before = transaction.tree(parent.version.tree)
        gone = {*changed, *removed}
        gone |= _behind(before, gone)
        entries = [entry for entry in before if entry.path not in gone and _leads_to(before, entry) not in removed]
        for path, data in changed.items():
            stored = transaction.add_bytes(data, path).info
            entries.append(Entry.file(path, stored.sha256, stored.size_bytes, _MODE))
        tree = Tree.of(entries)
        version = Version(
            tree=transaction.add_tree(tree),
            parent=parent.id,
            source=f"casmodels://{parent.name}@{parent.id.hex}",
            created_ns=begun_ns,
            message=message,
            metadata={
                **_inherited(context, parent),
                "kind": QUANTISED,
                "name": name,
                "base_models": [parent.name],
                QUANTISED: record_of(quantised),
            },
        )
        last = newest(transaction, name)
        digest = transaction.add_version(version)
        transaction.set_ref(RefKey(RefKind.VERSION, name, digest.hex), digest)
        transaction.require(lambda: check_own_name(transaction, context.registry, name))
        transaction.commit()
    return CheckpointResult(
        name=name,
        version=digest.hex,
        parent=parent.id.hex,
        files=len(tree.files),
        size_bytes=tree.size_bytes,
        stored_bytes=transaction.added_bytes,
        seconds=time.monotonic() - begun,
        unchanged=last is not None and last.version.tree == version.tree,
    )


def _behind(tree: Tree, gone: Collection[str]) -> set[str]:
    """The files that links among these lead to, and no link that stays does."""
    ends = {entry.path: _leads_to(tree, entry) for entry in tree if entry.kind is EntryKind.LINK}
    staying = {end for path, end in ends.items() if path not in gone}
    return {end for path, end in ends.items() if path in gone} - staying


def _inherited(context: Context, parent: Found) -> dict[str, Any]:
    """What is true of the parent and of what is made from it. The registry knows only the parent."""
    metadata = parent.version.metadata
    spec = context.registry.of_repo(metadata.get("repo") or parent.name)
    told = {"type": type_of(metadata, spec), "licence": licence_of(metadata, spec)}
    kept = {key: metadata.get(key) for key in _KEPT}
    return {key: value for key, value in {**kept, **told}.items() if value is not None}


def _leads_to(tree: Tree, entry: Entry) -> str:
    """The path of the file that a link leads to, or the entry's own."""
    end = tree.follow(entry.path)
    return end.path if end is not None else entry.path
