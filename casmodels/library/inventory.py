"""What is here: models, versions, paths, and where the bytes go."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable, Iterator, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, tee
from typing import TYPE_CHECKING

from casmodels.library.context import Context
from casmodels.library.damage import damage_named
from casmodels.library.model_types import licence_of, type_of
from casmodels.library.names import Found, existing_name, find, kept_name, versions_of
from casmodels.library.quantised_record import quantised_of
from casmodels.signatures import ATTACHED, KEPT, SIGNATURE_FILE
from casmodels.specs import ModelSpec, parse_model_type
from casstore.catalog import Reader
from casstore.codecs import Codec
from casstore.digests import Digest
from casstore.errors import DamagedError, NotFoundError
from casstore.refs import Ref, RefKey, RefKind
from casstore.trees import Entry, EntryKind, Tree
from casstore.versions import Version

if TYPE_CHECKING:  # each command makes its own only
    from casmodels.results import ContentsResult, EntryResult, ModelResult, StatsResult, VersionResult


def list_models(context: Context, *, available: bool, model_type: str | None) -> list[ModelResult]:
    """The models that are here; with ``available``, those too that are only known.

    Raises InvalidInputError when there is no such type.
    """
    wanted = parse_model_type(model_type).value if model_type is not None else None
    results: list[ModelResult] = []
    engine = context.existing()
    if engine is not None:
        with engine.reading() as reader:
            results = [_installed(context, reader, name) for name in _names(reader)]
    if available:
        here = {result.name: None for result in results}
        results += [_known(spec, here) for spec in context.registry if not here.keys() & {spec.huggingface_id, spec.id}]
    return [result for result in results if wanted is None or result.type == wanted]


def info(context: Context, model: str | None, model_type: str | None) -> list[ModelResult]:
    """One model, here or only known; or all. Raises UnknownModelError."""
    if model is None:
        return list_models(context, available=True, model_type=model_type)
    spec = context.registry.find(model)
    engine = context.existing()
    if engine is not None:
        with engine.reading() as reader:
            if spec is None or kept_name(reader, context.registry, model) is not None:
                return [_installed(context, reader, existing_name(reader, context.registry, model))]
            return [_known(spec, _names(reader))]
    return [_known(spec if spec is not None else context.registry.get(model))]


def list_versions(context: Context, name: str | None) -> list[VersionResult]:
    """The versions of a name, or of all, newest first, those with damaged records too. Raises UnknownModelError."""
    engine = context.existing() if name is None else context.engine()
    if engine is None:
        return []
    with engine.reading() as reader:
        wanted = existing_name(reader, context.registry, name) if name is not None else None
        refs = reader.refs(RefKind.VERSION, wanted)
        tags = _labels_by_target(reader.refs(RefKind.TAG, wanted))
        pinned = reader.refs(RefKind.PIN, wanted)
        pins = _labels_by_target(pinned)
        # One by one: the trees of all versions together would take more memory than all that is told of them.
        records, again = tee(_records(reader, reversed(refs)))
        stored = reader.stored_bytes_of_each(record.content for record in again)
        keys = {ref.key for ref in pinned}
        return [_version(record, tags, pins, keys, each) for record, each in zip(records, stored, strict=True)]


def list_entries(context: Context, target: str) -> list[EntryResult]:
    """The paths of a version. Raises UnknownModelError, UnknownVersionError."""
    with context.engine().reading() as reader:
        tree = reader.tree(find(reader, context.registry, target).version.tree)
        return [_entry(entry) for entry in tree]


def contents(context: Context, target: str) -> ContentsResult:
    """A version and its files. Raises UnknownModelError, UnknownVersionError."""
    from casmodels.library.weights import files_of
    from casmodels.results import ContentsResult

    with context.engine().reading() as reader:
        found = find(reader, context.registry, target)
        files = tuple(_entry(entry) for entry in files_of(reader.tree(found.version.tree)))
    return ContentsResult(found.name, found.id.hex, files)


def read_path(context: Context, target: str, path: str) -> Iterator[memoryview]:
    """The bytes of one file of a version. Raises NotFoundError for a path that is no file of it."""
    with context.engine().reading() as reader:
        found = find(reader, context.registry, target)
        blob = file_of(reader, found, path)
        with damage_named(path, found):
            yield from reader.open_blob(blob).stream()


def stats(context: Context, name: str | None) -> StatsResult:
    """Where the bytes go, in the whole store or for one name."""
    from casmodels.results import StatsResult
    from casmodels.views.hub_cache import occupied_bytes

    engine = context.existing() if name is None else context.engine()
    if engine is None:
        return StatsResult(0, 0, 0, 0, 0, 0, 0, 0, {})
    with engine.reading() as reader:
        wanted = existing_name(reader, context.registry, name) if name is not None else None
        refs = reader.refs(RefKind.VERSION, wanted)
        logical = sum(record.tree.size_bytes for record in _records(reader, refs) if record.tree is not None)
        usage = reader.usage(None if wanted is None else [ref.target for ref in refs])
    return StatsResult(
        logical_bytes=logical,
        unique_bytes=usage.raw_bytes,
        stored_bytes=usage.stored_bytes,
        index_bytes=usage.index_bytes,
        views_bytes=occupied_bytes(place for place in engine.places.all(name=wanted) if place.kind.is_view),
        models=len({ref.key.name for ref in refs}),
        versions=len(refs),
        chunks=usage.chunks,
        by_codec={
            Codec(codec).name.lower(): {"chunks": chunks, "raw_bytes": raw, "stored_bytes": stored}
            for codec, chunks, raw, stored in usage.by_codec
        },
    )


def complete_names(context: Context, prefix: str) -> list[str]:
    """The names that are here and the aliases that are known, as far as they begin so."""
    known = [word for spec in context.registry for word in (spec.id, *spec.aliases)]
    engine = context.existing()
    if engine is not None:
        known += [ref.key.name for ref in engine.engine.ledger.refs.all(RefKind.VERSION)]
    return sorted({word for word in known if word.startswith(prefix)})


def _names(reader: Reader) -> dict[str, None]:
    """Every name that has versions, once."""
    return dict.fromkeys(ref.key.name for ref in reader.refs(RefKind.VERSION))


def _known(spec: ModelSpec, names: Container[str] = ()) -> ModelResult:
    """What is not here; ``names`` are of what is, and mean that."""
    from casmodels.results import ModelResult

    return ModelResult(
        id=spec.id,
        name=spec.huggingface_id,
        type=spec.model_type.value,
        aliases=tuple(alias for alias in spec.aliases if alias not in names),
        repo=spec.huggingface_id,
        installed=False,
        parameters=spec.parameters,
        context_length=spec.context_length,
        licence=spec.licence,
        description=spec.description or None,
    )


def _installed(context: Context, reader: Reader, name: str) -> ModelResult:
    from casmodels.results import ModelResult

    refs = versions_of(reader, name)
    unreadable: set[Digest] = set()
    readable = _readable(_records(reader, reversed(refs)), unreadable)
    newest = next(readable, None)
    kept = [newest] if newest is not None else []
    stored_bytes = reader.stored_bytes(chain(kept, readable), unreadable)
    metadata = newest[0].metadata if newest is not None else {}
    pins = {ref.key for ref in reader.refs(RefKind.PIN, name)}
    repo = metadata.get("repo")
    spec = context.registry.of_repo(repo or name)

    def leads_here(word: str) -> bool:
        # The words for its repo may mean another name that came from there, or one of the user's own.
        return kept_name(reader, context.registry, word) == name

    return ModelResult(
        id=spec.id if spec is not None and leads_here(spec.id) else name,
        name=name,
        type=type_of(metadata, spec),
        aliases=tuple(filter(leads_here, spec.aliases)) if spec is not None else (),
        repo=repo,
        installed=True,
        versions=len(refs),
        size_bytes=newest[1].size_bytes if newest is not None else 0,
        stored_bytes=stored_bytes,
        damaged=len(unreadable),
        parameters=spec.parameters if spec is not None else None,
        context_length=spec.context_length if spec is not None else None,
        licence=licence_of(metadata, spec),
        description=spec.description or None if spec is not None else None,
        base_models=tuple(metadata.get("base_models", ())),
        signature=_signature(pins, name, newest[0].id, newest[1]) if newest is not None else None,
        quantised=quantised_of(metadata),
    )


@dataclass(frozen=True, slots=True)
class _Record:
    """A version that is named, and what it says: None for what cannot be read."""

    ref: Ref
    version: Version | None
    tree: Tree | None

    @property
    def content(self) -> tuple[Version, Tree] | None:
        """Both, if both can be read."""
        return (self.version, self.tree) if self.version is not None and self.tree is not None else None


def _records(reader: Reader, refs: Iterable[Ref]) -> Iterator[_Record]:
    """What versions say. One that is damaged must not hide the others."""
    for ref in refs:
        version = tree = None
        with contextlib.suppress(DamagedError, NotFoundError):
            version = reader.version(ref.target)
            tree = reader.tree(version.tree)
        yield _Record(ref, version, tree)


def _readable(records: Iterable[_Record], unreadable: set[Digest]) -> Iterator[tuple[Version, Tree]]:
    """What is in those that can be read; ``unreadable`` gets the others."""
    for record in records:
        if record.content is not None:
            yield record.content
        else:
            unreadable.add(record.ref.target)


def _version(
    record: _Record,
    tags: dict[Digest, list[str]],
    pins: dict[Digest, list[str]],
    keys: Set[RefKey],
    stored_bytes: int | None,
) -> VersionResult:
    from casmodels.results import VersionResult

    ref, version, tree = record.ref, record.version, record.tree
    return VersionResult(
        name=ref.key.name,
        version=ref.target.hex,
        tags=tuple(tags.get(ref.target, ())),
        created=_moment(version.created_ns) if version is not None else None,
        source=version.source if version is not None else None,
        revision=version.revision if version is not None else None,
        message=version.message if version is not None else None,
        files=len(tree.files) if tree is not None else None,
        size_bytes=tree.size_bytes if tree is not None else None,
        stored_bytes=stored_bytes,
        pinned=ref.target in pins,
        damaged=_damage(record, stored_bytes),
        signature=_signature(keys, ref.key.name, ref.target, tree),
        quantised=quantised_of(version.metadata) if version is not None else None,
    )


def _signature(keys: Set[RefKey], name: str, version: Digest, tree: Tree | None) -> str | None:
    """Which signature a version has: the one that is kept, by the keys of pins, or its own file's."""
    if RefKey.attachment(name, version, ATTACHED) in keys:
        return KEPT
    return SIGNATURE_FILE if any(entry.path == SIGNATURE_FILE for entry in tree or ()) else None


def _moment(created_ns: int) -> str:
    created = datetime.fromtimestamp(created_ns / 1e9, UTC)
    return created.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _damage(record: _Record, stored_bytes: int | None) -> str | None:
    if record.version is None:
        return "its record cannot be read"
    if record.tree is None:
        return "its list of files cannot be read"
    return "the record of one of its files cannot be read" if stored_bytes is None else None


def _labels_by_target(refs: list[Ref]) -> dict[Digest, list[str]]:
    labels: dict[Digest, list[str]] = {}
    for ref in refs:
        labels.setdefault(ref.target, []).append(ref.key.label)
    return labels


def _entry(entry: Entry) -> EntryResult:
    from casmodels.results import EntryResult

    return EntryResult(
        path=entry.path,
        kind=entry.kind.name.lower(),
        size_bytes=entry.size_bytes,
        mode=f"{entry.mode:04o}",
        digest=str(entry.blob) if entry.blob is not None else None,
        target=entry.target or None,
    )


def file_of(reader: Reader, found: Found, path: str) -> Digest:
    """The blob of a file of a version, links followed. Raises NotFoundError."""
    tree = reader.tree(found.version.tree)
    entry = tree.follow(path)
    if entry is None or entry.kind is not EntryKind.FILE or entry.blob is None:
        raise NotFoundError(
            f"{found.name}@{found.id.hex[:12]} has no file {path!r}", remedy=f"see `casmodels ls {found.name}`"
        )
    return entry.blob
