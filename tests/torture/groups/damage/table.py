"""The table: what is damaged, and how."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casstore.codecs import Codec
from casstore.frames import FrameKind
from casstore.index.rows import FrameRow
from casstore.layout import Layout
from casstore.packs import pack_path
from casstore.testing.damage import Range, cut_out, flip, swap, truncate, zero
from tests.torture.groups.damage.shelf import Shelf

_HEADER_BYTES: Final = 48
_PAGE_BYTES: Final = 4096

Harm = Callable[[Sequence[Range], random.Random], None]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: what it is called, and the ranges that may be harmed, in the store that is damaged."""

    part: str
    harm: str

    def __str__(self) -> str:
        return f"{self.harm} in a {self.part}"


def _one(harm: Callable[[Range, random.Random], None]) -> Harm:
    return lambda ranges, chance: harm(chance.choice(ranges), chance)


def _delete(ranges: Sequence[Range], chance: random.Random) -> None:
    """What is no range but as good as its file goes with it; of others, bytes."""
    target = chance.choice(ranges)
    if target.start == 0:
        target.path.unlink()
    else:
        cut_out(target, chance)


def _swap(ranges: Sequence[Range], chance: random.Random) -> None:
    swap(*chance.sample(ranges, 2))


HARMS: Final[dict[str, Harm]] = {
    "flip": _one(flip),
    "truncate": _one(truncate),
    "delete": _delete,
    "zero": _one(zero),
    "swap": _swap,
}

_FRAMES: Final[dict[str, Callable[[FrameRow, set[bytes]], bool]]] = {
    "whole chunk": lambda row, bases: row.kind is FrameKind.CHUNK and row.base is None and row.digest not in bases,
    "base": lambda row, bases: row.kind is FrameKind.CHUNK and row.base is None and row.digest in bases,
    "delta": lambda row, _: row.kind is FrameKind.CHUNK and row.codec == Codec.DELTA,
    "cast": lambda row, _: row.kind is FrameKind.CHUNK and row.codec == Codec.CAST,
    "recipe": lambda row, _: row.kind is FrameKind.RECIPE,
    "tree record": lambda row, _: row.kind is FrameKind.TREE,
    "version record": lambda row, _: row.kind is FrameKind.VERSION,
}
IN_PACKS: Final = ("pack header", *_FRAMES, "trailer")
PARTS: Final = (*IN_PACKS, "index", "journal line")


def ranges(shelf: Shelf, part: str) -> list[Range]:
    """Where the store has such parts."""
    layout = Layout(shelf.store)
    if part == "index":
        return _pages(layout.index)
    if part == "journal line":
        return _lines(layout.journal)
    packs = {row.pack for row in shelf.rows}
    if part == "pack header":
        return [Range(pack_path(layout.packs, pack), 0, _HEADER_BYTES) for pack in sorted(packs)]
    if part == "trailer":
        ends = {row.pack: 0 for row in sorted(shelf.rows, key=lambda row: row.pack)}
        for row in shelf.rows:
            ends[row.pack] = max(ends[row.pack], row.offset + row.length)
        paths = {pack_path(layout.packs, pack): end for pack, end in ends.items()}
        return [Range(path, end, path.stat().st_size) for path, end in paths.items()]
    bases = {row.base for row in shelf.rows if row.base is not None}
    return [shelf.range_of(row) for row in shelf.rows if _FRAMES[part](row, bases)]


def _pages(path: Path) -> list[Range]:
    return [Range(path, start, start + _PAGE_BYTES) for start in range(0, path.stat().st_size, _PAGE_BYTES)]


def _lines(path: Path) -> list[Range]:
    found, start = [], 0
    for line in path.read_bytes().splitlines(keepends=True):
        found.append(Range(path, start, start + len(line)))
        start += len(line)
    return found
