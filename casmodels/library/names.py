"""Finding what a user means by NAME[@VERSION]."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from casmodels.errors import NameTakenError, UnknownModelError, UnknownVersionError
from casmodels.families import FAMILIES
from casmodels.registry import Registry
from casmodels.revisions import main_of
from casmodels.specs import VersionedName, parse_versioned
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.errors import DamagedError, InvalidInputError, NotFoundError
from casstore.refs import Ref, RefKey, RefKind, check_name
from casstore.versions import Version

_SHORTEST_COMMIT = 7


@dataclass(frozen=True, slots=True)
class Found:
    """A version of a name."""

    name: str
    id: Digest
    version: Version

    def __str__(self) -> str:
        return f"{self.name}@{self.id.hex[:12]}"


def stored_name(registry: Registry, name: str) -> str:
    """The name under which a model is kept: its Hub id for an alias or a registered id, else the name itself."""
    spec = registry.find(name)
    return spec.huggingface_id if spec is not None else name


def versions_of(reader: Reader, name: str) -> list[Ref]:
    """The version refs of a name, oldest first."""
    return reader.refs(RefKind.VERSION, name)


def readable(reader: Reader, name: str) -> Iterator[Found]:
    """The versions of a stored name whose records are not damaged, newest first. `verify` names the others.

    Raises UnreadableError when the disk fails: what is decided without one that is whole would be wrong.
    """
    for ref in reversed(versions_of(reader, name)):
        version = reader.version_unless_lost(ref.target)
        if version is not None:
            yield Found(name, ref.target, version)


def newest(reader: Reader, name: str) -> Found | None:
    """The newest version of a stored name that can be read."""
    return next(readable(reader, name), None)


def find(reader: Reader, registry: Registry, target: str) -> Found:
    """The version that NAME[@VERSION] means, as `identify`. Raises also DamagedError when its record is lost."""
    name, digest = identify(reader, registry, target)
    return Found(name, digest, _version(reader, name, digest))


def identify(reader: Reader, registry: Registry, target: str) -> tuple[str, Digest]:
    """The name and id that NAME[@VERSION] means; by its id also one that was removed, until gc takes it.

    Raises InvalidInputError, UnknownModelError, UnknownVersionError; DamagedError when a bare name's newest version
    cannot be read, as nobody knows whether it is the one that is meant.
    """
    wanted = parse_versioned(target)
    if wanted.label is not None and not versions_of(reader, wanted.name):
        for digest in _removed(reader, wanted.name, wanted.label):
            return wanted.name, digest
    name = existing_name(reader, registry, wanted.name)
    refs = versions_of(reader, name)
    if wanted.label is None:
        if wanted.back >= len(refs):
            raise UnknownVersionError(
                f"{name} has {len(refs)} versions, so there is no {wanted}", remedy=f"see `casmodels versions {name}`"
            )
        digest = refs[-1 - wanted.back].target if wanted.back else _main(reader, name, refs[-1].target)
    else:
        digest = _labelled(reader, name, refs, wanted)
    return name, digest


def _main(reader: Reader, name: str, last: Digest) -> Digest:
    """What a bare name means, as for views and the server: a pull of an old upstream revision does not change it."""
    _version(reader, name, last)
    return main_of([found.version for found in readable(reader, name)]).id


def _version(reader: Reader, name: str, digest: Digest) -> Version:
    try:
        return reader.version(digest)
    except (DamagedError, NotFoundError) as error:
        short = f"{name}@{digest.hex[:12]}"
        damaged = DamagedError(f"the version {short}", "its record cannot be read")
        damaged.remedy = f"name another one (`casmodels versions {name}`), or `casmodels remove {short}`"
        raise damaged from error


def kept_name(reader: Reader, registry: Registry, name: str) -> str | None:
    """The stored name that a name or alias means; None when the store has nothing under it."""
    candidates = dict.fromkeys((name, stored_name(registry, name)))
    return next((candidate for candidate in candidates if versions_of(reader, candidate)), None)


def existing_name(reader: Reader, registry: Registry, name: str) -> str:
    """As `kept_name`. Raises UnknownModelError when the store has nothing under it."""
    kept = kept_name(reader, registry, name)
    if kept is not None:
        return kept
    spec = registry.find(name)
    if spec is not None:
        error = UnknownModelError(name)
        error.message = f"{name!r} is known but not here yet"
        error.remedy = f"`casmodels pull {name}` brings it in"
        raise error
    known = {ref.key.name for ref in reader.refs(RefKind.VERSION)}
    raise UnknownModelError(name, registry.nearest(name, known))


def _labelled(reader: Reader, name: str, refs: list[Ref], wanted: VersionedName) -> Digest:
    label = wanted.label or ""
    tag = reader.ref(RefKey(RefKind.TAG, name, label))
    if tag is not None:
        return tag.target
    for matches in (_by_revision(reader, name, label), _by_id(refs, label), _removed(reader, name, label)):
        if len(matches) > 1:
            raise InvalidInputError(
                f"{wanted} could be any of {', '.join(digest.hex[:12] for digest in matches)}",
                remedy="give more digits",
            )
        if matches:
            return matches[0]
    raise UnknownVersionError(f"{name} has no version {label!r}", remedy=f"see `casmodels versions {name}`")


def _by_revision(reader: Reader, name: str, label: str) -> list[Digest]:
    """The newest version of the upstream state of that name; commits may be shortened as in git."""
    for found in readable(reader, name):
        revision = found.version.metadata.get("revision") or ""
        if label in (revision, found.version.metadata.get("requested_revision")):
            return [found.id]
        if len(label) >= _SHORTEST_COMMIT and revision.startswith(label):
            return [found.id]
    return []


def _by_id(refs: list[Ref], label: str) -> list[Digest]:
    return [ref.target for ref in refs if ref.target.hex.startswith(label.lower())]


def _removed(reader: Reader, name: str, label: str) -> list[Digest]:
    """Versions that were removed and gc has not taken yet."""
    try:
        digests = reader.versions_with_prefix(label.lower())
    except InvalidInputError:
        return []
    versions = ((digest, reader.version_unless_lost(digest)) for digest in digests)
    return [digest for digest, version in versions if version is not None and version.metadata.get("name") == name]


def check_own_name(reader: Reader, registry: Registry, name: str) -> str:
    """A name that the user may give to versions of their own.

    The names of `FAMILIES` give way to it. Raises InvalidInputError for what cannot be a name, NameTakenError for an
    alias, a registered id or a Hub id.
    """
    check_name(name)
    spec = registry.find(name)
    if spec is not None and spec not in FAMILIES:
        raise NameTakenError(
            f"the name {name!r} is taken by the registered model {spec.id} ({spec.huggingface_id})",
            remedy="choose another name",
        )
    found = newest(reader, name)
    if found is not None and found.version.metadata.get("kind") == "hub":
        raise NameTakenError(
            f"the name {name!r} is taken by a model pulled from {found.version.source}", remedy="choose another name"
        )
    return name
