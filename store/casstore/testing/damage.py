"""Damage done to files on purpose, each to a range of bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes ``start`` to ``stop`` of a file."""

    path: Path
    start: int
    stop: int

    def read(self) -> bytes:
        """What is there now; fewer bytes where the file ends before."""
        return self.path.read_bytes()[self.start : self.stop]

    def write(self, data: bytes) -> None:
        """Put other bytes there, which may be more or fewer."""
        content = self.path.read_bytes()
        self.path.write_bytes(content[: self.start] + data + content[self.stop :])


def flip(target: Range, chance: random.Random) -> None:
    """Flip one bit, of a byte that is not zero where there is one: most zeros of an index are its free space."""
    data = bytearray(target.read())
    places = [place for place, byte in enumerate(data) if byte] or range(len(data))
    data[chance.choice(places)] ^= 1 << chance.randrange(8)
    target.write(bytes(data))


def truncate(target: Range, chance: random.Random) -> None:
    """Cut the file off within the range."""
    with target.path.open("r+b") as file:
        file.truncate(chance.randrange(target.start, target.stop))


def cut_out(target: Range, chance: random.Random) -> None:
    """Take some bytes out; what comes after them moves up."""
    _replace(target, chance, lambda _: b"")


def zero(target: Range, chance: random.Random) -> None:
    """Write zeros over some bytes."""
    _replace(target, chance, bytes)


def swap(one: Range, other: Range) -> None:
    """Exchange two ranges, which may be of one file."""
    if one.path == other.path:
        first, second = sorted((one, other), key=lambda each: each.start)
        between = Range(one.path, first.stop, second.start).read()
        Range(one.path, first.start, second.stop).write(second.read() + between + first.read())
        return
    data = one.read()
    one.write(other.read())
    other.write(data)


def _replace(target: Range, chance: random.Random, by: Callable[[int], bytes]) -> None:
    start = chance.randrange(target.start, target.stop)
    stop = chance.randrange(start + 1, target.stop + 1)
    Range(target.path, start, stop).write(by(stop - start))
