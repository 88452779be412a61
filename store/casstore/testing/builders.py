"""Builders: put small trees of bytes under a name, and read them back."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from casstore.catalog import Reader
from casstore.chunkers.spans import RandomAccess, Span
from casstore.digests import Digest
from casstore.refs import RefKey, RefKind
from casstore.store import Store
from casstore.transactions import Transaction
from casstore.trees import Entry, EntryKind, Tree
from casstore.versions import Version

GRID_BYTES = 4096


def noise(seed: int, size_bytes: int) -> bytes:
    """Bytes that no codec makes smaller; the same for the same seed."""
    return random.Random(seed).randbytes(size_bytes)


def grid(_name: str, source: RandomAccess) -> Sequence[Span]:
    """A span finder that cuts every file into chunks of 4 KiB, so that small files have several."""
    whole = source.size_bytes - source.size_bytes % GRID_BYTES
    return [Span(offset, GRID_BYTES, 1, 1) for offset in range(0, whole, GRID_BYTES)]


def one_tensor(name: str, source: RandomAccess) -> Sequence[Span]:
    """A span finder for files that are one tensor: ``weights.4`` has words of four bytes and the key of ``weights``."""
    stem, _, width = name.rpartition(".")
    if not width.isdecimal() or source.size_bytes % int(width):
        return []
    return [Span(0, source.size_bytes, int(width), int(width), stem.encode().ljust(8, b"-")[:8])]


def version_key(name: str, version: Digest) -> RefKey:
    """The key of the ref that keeps a version alive."""
    return RefKey(RefKind.VERSION, name, version.hex)


def stage(transaction: Transaction, name: str, files: Mapping[str, bytes], *, created_ns: int = 1) -> Digest:
    """Put a version of these files into a transaction, its ref too, without committing it."""
    entries = []
    for path, data in files.items():
        stored = transaction.add_bytes(data, path)
        entries.append(Entry.file(path, stored.info.sha256, stored.info.size_bytes))
    tree = transaction.add_tree(Tree.of(entries))
    version = Version(tree, None, "test:", created_ns, metadata={"name": name})
    digest = transaction.add_version(version)
    transaction.set_ref(version_key(name, digest), digest)
    return digest


def put(store: Store, name: str, files: Mapping[str, bytes], *, created_ns: int = 1) -> Digest:
    """Store a version of these files under a name; gives its id."""
    with store.writing() as transaction:
        digest = stage(transaction, name, files, created_ns=created_ns)
        transaction.commit()
    return digest


def remove(store: Store, name: str, version: Digest) -> None:
    """Take the ref of a version away."""
    with store.writing() as transaction:
        transaction.set_ref(version_key(name, version), None)
        transaction.commit()


def contents(reader: Reader, version: Digest) -> dict[str, bytes]:
    """The files of a version, read whole."""
    found = {}
    for entry in reader.tree(reader.version(version).tree):
        if entry.kind is EntryKind.FILE:
            assert entry.blob is not None
            found[entry.path] = b"".join(reader.open_blob(entry.blob).stream())
    return found


def all_contents(store: Store) -> dict[tuple[str, str], dict[str, bytes]]:
    """The files of all versions that refs name, by name and id."""
    with store.reading() as reader:
        return {(ref.key.name, ref.target.hex): contents(reader, ref.target) for ref in reader.refs(RefKind.VERSION)}
