"""What an index made from packs must not promise.

A pack holds frames that gc has dropped from the index beside others that count. Its rows come back with the pack, but
what they need may have lain in packs that are gone. A recipe that is not whole must not make its blob look had, and a
version that nobody names and that is not whole must not be offered.
"""

from __future__ import annotations

import errno

from casstore import files
from casstore.digests import BLAKE3, Digest
from casstore.engine import decoded
from casstore.errors import DamagedError, InvalidInputError
from casstore.frames import FrameKind
from casstore.index.lengths import chunk_lengths
from casstore.index.order import frames_in_packs
from casstore.index.refs import RefRows
from casstore.index.rows import BlobInfo, FrameRow, Rows, State
from casstore.packs import PackReader
from casstore.recipes import Outline
from casstore.refs import RefKey, RefKind, check_name
from casstore.trees import Tree
from casstore.versions import Version

_RECOVERED = "recovered"


def adopt_versions(rows: Rows, refs: RefRows, packs: PackReader, adopted: list[bytes]) -> int:
    """Give refs to the readable versions in packs that were taken in without the journal's word; gives how many.

    A version remembers its name in its metadata; one that does not is kept under ``recovered``. What is attached to one
    remembers that, too; of two under the same word the newer counts.
    """
    named = {ref.target for ref in refs.all() if ref.is_checked}
    found = []
    with frames_in_packs(rows.database, adopted) as frames:
        for row in frames:
            digest = Digest(BLAKE3, row.digest)
            if row.kind is FrameKind.VERSION and digest not in named:
                version = _version(rows, packs, digest)
                if version is not None and _tree(rows, packs, version.tree) is not None:
                    found.append((version.created_ns, digest, version))
    for _, digest, version in sorted(found, key=lambda each: each[0]):
        refs.put(_key(version), digest, refs.next_order())
    return len(found)


def mark_what_is_not_whole(rows: Rows, refs: RefRows, packs: PackReader) -> None:
    """Mark recipes and versions that need what is not there, and note records as lost that refs need."""
    rows.mark_baseless()
    _mark_recipes(rows, packs)
    named = {ref.target for ref in refs.all() if ref.key.kind is not RefKind.PARTIAL}
    for value in rows.readable(FrameKind.VERSION):
        digest = Digest(BLAKE3, value)
        version = _version(rows, packs, digest)
        tree = _tree(rows, packs, version.tree) if version is not None else None
        if version is None:
            rows.set_state(FrameKind.VERSION, [value], State.DAMAGED)
        elif digest in named:
            if tree is None:
                rows.set_state(FrameKind.TREE, [version.tree.value], State.DAMAGED)
                rows.mark_lost([(FrameKind.TREE, version.tree.value)])
        elif tree is None or any(entry.blob is None or rows.blob(entry.blob) is None for entry in tree.files):
            rows.set_state(FrameKind.VERSION, [value], State.DAMAGED)
    rows.mark_lost((FrameKind.VERSION, digest.value) for digest in named)


def _mark_recipes(rows: Rows, packs: PackReader) -> None:
    whole, incomplete, damaged = [], [], []
    for value in rows.readable(FrameKind.RECIPE):
        digest = Digest(BLAKE3, value)
        content = _content(rows, packs, FrameKind.RECIPE, digest)
        if content is None:
            damaged.append(value)
            continue
        outline = Outline.decode(content, digest)
        if all(_are_there(rows, chunks) for chunks in outline.chunks()):
            whole.append(BlobInfo(outline.sha256, outline.size_bytes, digest, outline.git))
        else:
            incomplete.append(value)
    rows.set_state(FrameKind.RECIPE, damaged, State.DAMAGED)
    rows.set_state(FrameKind.RECIPE, incomplete, State.INCOMPLETE)
    rows.map_blobs(whole)


def _are_there(rows: Rows, chunks: list[bytes]) -> bool:
    return sum(1 for _ in chunk_lengths(rows.database, chunks)) == len(chunks)


def _key(version: Version) -> RefKey:
    attached_to, kind = version.metadata.get("attached_to"), version.metadata.get("kind")
    if isinstance(attached_to, str) and isinstance(kind, str) and version.parent is not None:
        key = RefKey.attachment(_name(attached_to), version.parent, kind)
        if key.attached_to is not None:
            return key
    return RefKey(RefKind.VERSION, _name(version.metadata.get("name")), version.id.hex)


def _name(name: object) -> str:
    try:
        return check_name(name) if isinstance(name, str) else _RECOVERED
    except InvalidInputError:
        return _RECOVERED


def _version(rows: Rows, packs: PackReader, digest: Digest) -> Version | None:
    content = _content(rows, packs, FrameKind.VERSION, digest)
    return Version.decode(content, digest) if content is not None else None


def _tree(rows: Rows, packs: PackReader, digest: Digest) -> Tree | None:
    content = _content(rows, packs, FrameKind.TREE, digest)
    return Tree.decode(content, digest) if content is not None else None


def _content(rows: Rows, packs: PackReader, kind: FrameKind, digest: Digest) -> bytes | None:
    """A frame's content; None when it is missing or damaged."""
    row = rows.frame(kind, digest.value)
    try:
        return bytes(decoded(_read(packs, row), kind, digest.value)) if row is not None else None
    except DamagedError:
        return None


def _read(packs: PackReader, row: FrameRow) -> bytes:
    try:
        return packs.read(row.pack, row.offset, row.length)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOENT):
            raise DamagedError(f"pack {row.pack.hex()}", f"it cannot be read: {error.strerror}") from error
        raise files.unreadable(error, f"pack {row.pack.hex()}", f"the pack {row.pack.hex()}") from error
