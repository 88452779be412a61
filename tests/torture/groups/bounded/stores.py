"""Stores of millions of chunks in a few minutes: all is real but the chunks' size, which is 16 bytes, and their
sketches. A quarter is stored against others.

One set of packs is written, and stores of several sizes hold links to the first so many of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final
from unittest import mock

from blake3 import blake3

from casstore import codecs, files
from casstore.codecs import Codec
from casstore.digests import BLAKE3, SHA256, Digest
from casstore.frames import Frame, FrameHeader, FrameKind, chunk_hint, recipe_hint
from casstore.journal import Journal, Operation, PackAdded, RefMoved
from casstore.layout import Layout
from casstore.packs import PackWriter, pack_path
from casstore.recipes import Part, Recipe
from casstore.refs import RefKey, RefKind
from casstore.store import Store
from casstore.trees import Entry, Tree
from casstore.versions import Version

CHUNK_BYTES: Final = 16
_ALIKE: Final = 4
"""So many chunks have one similarity key; the last of them is a delta against the one before."""
_WORD_BYTES: Final = 2
PACK_FRAMES: Final = 128
"""About as many as there are in a pack of 64 MiB."""


@dataclass(slots=True)
class Packs:
    """Packs in a directory, and for each version the packs that are complete with it."""

    directory: Path
    ids: list[bytes] = field(default_factory=list)
    versions: list[tuple[Digest, int]] = field(default_factory=list)


def make_packs(directory: Path, versions: int, files_each: int, chunks_each: int) -> Packs:
    """Write versions of so many files of so many chunks, no two of which are equal."""
    directory.mkdir()
    made = Packs(directory)
    # Nothing here has to survive a power cut.
    with mock.patch.multiple(files, sync_file=mock.DEFAULT, sync_directory=mock.DEFAULT):
        for number in range(versions):
            frames = _frames_of_version(number, files_each, chunks_each)
            while batch := list(islice(frames, PACK_FRAMES)):
                pack = PackWriter(directory, 0)
                for frame in batch:
                    pack.append(frame)
                made.ids.append(pack.seal().id)
                last = batch[-1].header
            made.versions.append((Digest(BLAKE3, last.digest), len(made.ids)))
    return made


def make_store(path: Path, packs: Packs, versions: int) -> None:
    """A store of the first so many versions, without its index."""
    with Store.open(path, create=True):
        pass
    layout = Layout(path)
    chosen = packs.versions[:versions]
    ids = packs.ids[: chosen[-1][1]] if chosen else []
    for pack_id in ids:
        os.link(pack_path(packs.directory, pack_id), pack_path(layout.packs, pack_id))
    operations: list[Operation] = [PackAdded(pack_id) for pack_id in ids]
    for order, (version, _) in enumerate(chosen, 1):
        operations.append(RefMoved(RefKey(RefKind.VERSION, "large", version.hex), None, version, order))
    Journal(layout.journal).rewrite(operations, 1)
    layout.index.unlink()


def _frames_of_version(number: int, files_each: int, chunks_each: int) -> Iterator[Frame]:
    entries = []
    for place in range(files_each):
        first = (number * files_each + place) * chunks_each
        parts, sha256 = [], hashlib.sha256()
        for chunk in range(first, first + chunks_each):
            frame = _chunk(chunk)
            yield frame
            parts.append(Part(frame.header.digest, 0, CHUNK_BYTES))
            sha256.update(_data(chunk))
        blob = Digest(SHA256, sha256.digest())
        recipe = Recipe(blob, chunks_each * CHUNK_BYTES, tuple(parts))
        yield _record(FrameKind.RECIPE, recipe.encoded, recipe.digest, recipe_hint(recipe))
        entries.append(Entry.file(f"{place}", blob, recipe.size_bytes))
    tree = Tree.of(entries)
    yield _record(FrameKind.TREE, tree.encoded, tree.digest)
    version = Version(tree.digest, None, "test:", number + 1, metadata={"name": "large"})
    yield _record(FrameKind.VERSION, version.encoded, version.id)


def _data(number: int) -> bytes:
    return number.to_bytes(CHUNK_BYTES, "little")


def _chunk(number: int) -> Frame:
    data = _data(number)
    digest = blake3(data).digest()
    kind, place = FrameKind.CHUNK, number % _ALIKE
    if place == _ALIKE - 1:
        base = _data(number - 1)
        coded = codecs.encode_against(data, _WORD_BYTES, base, 0)
        assert coded is not None
        codec, payload = coded
        header = FrameHeader(kind, digest, codec, CHUNK_BYTES, len(payload), base=blake3(base).digest())
        return Frame.of(header, payload)
    # Of one key, but with sketches so unlike that compact looks at them and lets them be.
    hint = chunk_hint(_WORD_BYTES, (number // _ALIKE).to_bytes(8, "little"), digest[: 8 * _WORD_BYTES])
    return Frame.of(FrameHeader(kind, digest, Codec.RAW, CHUNK_BYTES, CHUNK_BYTES, hint=hint), data)


def _record(kind: FrameKind, encoded: bytes, digest: Digest, hint: bytes = b"") -> Frame:
    codec, payload = codecs.encode(encoded, 0)
    return Frame.of(FrameHeader(kind, digest.value, codec, len(encoded), len(payload), hint=hint), payload)
