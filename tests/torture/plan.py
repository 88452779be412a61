"""What a group of torture is given, and what it gives back."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Plan:
    """How to run: everything random comes from the seed; ``work`` is an empty directory; a short run takes seconds."""

    seed: int
    work: Path
    is_short: bool

    def random(self, what: str) -> random.Random:
        """A generator of its own for each thing, so that one does not change what another draws."""
        return random.Random(f"{self.seed} {what}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line of the report: what was done, how many times, and one sentence for each time that it did not hold."""

    what: str
    points: int
    failures: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A deliberate fault in the product that a group has to notice: in ``file`` (from the root), ``before`` becomes
    ``after``; ``before`` is there exactly once."""

    what: str
    file: str
    before: str
    after: str
