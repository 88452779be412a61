"""The store that is damaged: what its versions hold, what they need, and where it lies."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from casmodels import config
from casmodels.library import Store
from casstore.codecs import Codec
from casstore.digests import Digest, sha256_digest
from casstore.frames import FrameKind
from casstore.index.rows import FrameRow
from casstore.layout import Layout
from casstore.packs import pack_path
from casstore.testing.damage import Range
from tests.models.reading.weights import rounded, safetensors_of

Name: TypeAlias = tuple[FrameKind, bytes]
Sufferer: TypeAlias = tuple[str, str, str | None]
"""A name, a version's id, and the path of a file, or None where the whole version suffers."""

WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Held:
    """A version: its files, the frames without which nothing of it can be had, and those that each file needs."""

    name: str
    version: str
    files: Mapping[str, bytes]
    records: frozenset[Name]
    needs: Mapping[str, frozenset[Name]]

    @property
    def target(self) -> str:
        """What a user would call it."""
        return f"{self.name}@{self.version}"

    def suffers(self, broken: frozenset[Name]) -> Iterator[Sufferer]:
        """What of it cannot be had without these frames."""
        if self.records & broken:
            yield self.name, self.version, None
            return
        for path, needed in self.needs.items():
            if needed & broken:
                yield self.name, self.version, path


@dataclass(frozen=True, slots=True)
class Shelf:
    """A store as it was made, in ``work/whole``; it is damaged as ``work/store``. ``copies`` has each version's files,
    ``view`` and ``checkouts`` are those that the store made."""

    work: Path
    held: tuple[Held, ...]
    rows: tuple[FrameRow, ...]

    @property
    def store(self) -> Path:
        """Where the damaged one lies."""
        return self.work / "store"

    def begin_anew(self) -> None:
        """Bring the store back to what it was."""
        shutil.rmtree(self.store, ignore_errors=True)
        shutil.copytree(self.work / "whole", self.store, symlinks=True)

    def open(self) -> Store:
        """The damaged store."""
        environ = {"CASMODELS_CONFIG": str(self.work / "config.toml"), "HF_HOME": str(self.work / "hf")}
        return Store(config=config.load(store=self.store, environ=environ))

    def range_of(self, row: FrameRow) -> Range:
        """Where a frame lies in the damaged store."""
        return Range(pack_path(Layout(self.store).packs, row.pack), row.offset, row.offset + row.length)

    def broken(self) -> frozenset[Name]:
        """The frames whose bytes are not what they were; those of packs that are gone, too."""
        whole = Layout(self.work / "whole").packs
        changed = set()
        for row in self.rows:
            before = Range(pack_path(whole, row.pack), row.offset, row.offset + row.length)
            now = self.range_of(row)
            if not now.path.exists() or now.read() != before.read():
                changed.add((row.kind, row.digest))
        return frozenset(changed)


def make(work: Path, chance: random.Random) -> Shelf:
    """A store with whole chunks, deltas, casts, bases, and files that several versions share."""
    (work / "config.toml").touch()
    shelf = Shelf(work, (), ())
    contents = _contents(chance)
    versions = []
    with shelf.open() as store:
        for name, content in contents:
            for path, data in content.items():
                place = work / "copies" / name / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
                _decoy(work / "copies" / "a decoy" / name / path, data)
            versions.append(store.checkpoint(name, work / "copies" / name).version)
            store.checkout(name, work / "checkouts" / name)
        store.view([name for name, _ in contents], work / "view")
        held = tuple(
            _held(store, name, version, content) for (name, content), version in zip(contents, versions, strict=True)
        )
        rows = store._context.engine().engine.ledger.rows
        names = {each for one in held for needed in (one.records, *one.needs.values()) for each in needed}
        found = [row for each in sorted(names) if (row := rows.frame(*each)) is not None]
    shelf.store.rename(work / "whole")
    shelf = Shelf(work, held, tuple(found))
    codecs = {row.codec for row in found}
    assert {Codec.DELTA, Codec.CAST} <= codecs, f"the store has only {codecs}"
    return shelf


def _decoy(place: Path, data: bytes) -> None:
    """A file of the same size, and other bytes all over, that lies where it is found first."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(bytes(255 - byte for byte in data))


def _contents(chance: random.Random) -> list[tuple[str, dict[str, bytes]]]:
    numbers = np.random.default_rng(chance.randrange(1 << 32))
    base = {name: numbers.standard_normal((80, 100)).astype("f4") * np.float32(0.05) for name in ("a", "b")}
    tuned = {
        name: array * (1 + numbers.standard_normal(array.shape) * 1e-4).astype("f4") for name, array in base.items()
    }
    halves = {name: rounded(array) for name, array in base.items()}
    shared = chance.randbytes(30_000)
    config_text = b'{"model": "%d"}' % chance.randrange(1 << 32)
    return [
        ("base", {WEIGHTS: safetensors_of(base), "config.json": config_text, "shared.bin": shared}),
        ("tuned", {WEIGHTS: safetensors_of(tuned), "config.json": config_text, "sub/own.txt": b"own " * 500}),
        ("half", {WEIGHTS: safetensors_of(halves, dict.fromkeys(halves, "BF16")), "sub/shared.bin": shared}),
        ("other", {"noise.bin": chance.randbytes(40_000)}),
    ]


def _held(store: Store, name: str, version: str, content: Mapping[str, bytes]) -> Held:
    engine = store._context.engine()
    rows = engine.engine.ledger.rows
    needs = {}
    with engine.reading() as reader:
        digest = Digest.parse(f"blake3:{version}")
        tree = reader.version(digest).tree
        for path, data in content.items():
            info = reader.find_blob(sha256_digest(data))
            assert info is not None
            chunks = {part.chunk for part in reader.recipe(info.recipe).parts}
            ahead = list(chunks)
            while ahead:
                row = rows.frame(FrameKind.CHUNK, ahead.pop())
                if row is not None and row.base is not None and row.base not in chunks:
                    chunks.add(row.base)
                    ahead.append(row.base)
            names = {(FrameKind.CHUNK, chunk) for chunk in chunks}
            needs[path] = frozenset({*names, (FrameKind.RECIPE, info.recipe.value)})
    records = frozenset({(FrameKind.VERSION, digest.value), (FrameKind.TREE, tree.value)})
    return Held(name, version, content, records, needs)
