"""Tags, pins, and taking versions away."""

from __future__ import annotations

from casmodels.library.context import Context
from casmodels.library.names import existing_name, find, identify, versions_of
from casmodels.library.saving import set_tag
from casmodels.results import RemoveResult
from casmodels.specs import parse_versioned
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.errors import InvalidInputError, NotFoundError
from casstore.maintenance import gc
from casstore.refs import RefKey, RefKind


def tag(context: Context, target: str, label: str) -> None:
    """Give a version a tag, and bring it back under its name if it was removed and gc has not taken it.

    Raises InvalidInputError when the tag names another version: a tag does not move.
    """
    with context.engine().writing() as transaction:
        found = find(transaction, context.registry, target)
        set_tag(transaction, found.name, label, found.id)
        transaction.set_ref(RefKey(RefKind.VERSION, found.name, found.id.hex), found.id)
        transaction.commit()


def pin(context: Context, target: str) -> None:
    """Protect a version from `remove`."""
    with context.engine().writing() as transaction:
        found = find(transaction, context.registry, target)
        transaction.set_ref(RefKey(RefKind.PIN, found.name, found.id.hex), found.id)
        transaction.set_ref(RefKey(RefKind.VERSION, found.name, found.id.hex), found.id)
        transaction.commit()


def unpin(context: Context, target: str) -> None:
    """End the protection. Raises NotFoundError when there is none."""
    with context.engine().writing() as transaction:
        name, version = identify(transaction, context.registry, target)
        key = RefKey(RefKind.PIN, name, version.hex)
        if transaction.ref(key) is None:
            raise NotFoundError(f"{name}@{version.hex[:12]} is not pinned")
        transaction.set_ref(key, None)
        transaction.commit()


def remove(context: Context, target: str) -> RemoveResult:
    """Take away a version, or with a bare name all of its versions. Their bytes stay until `gc`.

    Raises UnknownModelError, UnknownVersionError, and InvalidInputError for what is pinned.
    """
    with context.engine().writing() as transaction:
        wanted = parse_versioned(target)
        if wanted.label is None and not wanted.back:
            name = existing_name(transaction, context.registry, wanted.name)
            versions = [ref.target for ref in versions_of(transaction, name)]
        else:
            name, version = identify(transaction, context.registry, target)
            versions = [version]
        freeable = gc.estimate(context.engine().engine, without=_keys(transaction, name, versions)).reclaimed_bytes

        def take_away() -> None:
            for key in _keys(transaction, name, versions):
                transaction.set_ref(key, None)

        take_away()
        transaction.require(take_away)  # another may have set a tag or a pin meanwhile
        transaction.commit()
        return RemoveResult(name, tuple(version.hex for version in versions), freeable)


def _keys(reader: Reader, name: str, versions: list[Digest]) -> set[RefKey]:
    keys = set()
    for version in versions:
        if reader.ref(RefKey(RefKind.PIN, name, version.hex)) is not None:
            raise InvalidInputError(
                f"{name}@{version.hex[:12]} is pinned", remedy=f"`casmodels unpin {name}@{version.hex[:12]}` first"
            )
        key = RefKey(RefKind.VERSION, name, version.hex)
        if reader.ref(key) is None:
            raise NotFoundError(f"{name}@{version.hex[:12]} was removed already")
        keys.add(key)
    tags = reader.refs(RefKind.TAG, name)
    kept = {ref.target for ref in versions_of(reader, name)} - set(versions)
    attachments = [ref.key for ref in reader.refs(RefKind.PIN, name) if ref.key.attached_to not in (None, *kept)]
    return keys | {ref.key for ref in tags if ref.target in versions} | set(attachments)
