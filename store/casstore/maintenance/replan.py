"""Better bases found later: chunks that came in before what they are like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from casstore.engine import Engine
from casstore.index.rows import Candidate
from casstore.similarity import Choice, choices

_MOST_WHOLE = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """A chunk that is stored whole and could be stored against another: its key, itself, and what to try."""

    key: bytes
    chunk: Candidate
    choices: tuple[Choice, ...]


def plans(engine: Engine) -> Iterator[Plan]:
    """Chunks that are like others which stay whole: what chunks are stored against already, the widest, the oldest.

    What is to become a delta is no base for the rest.
    """
    rows = engine.ledger.rows
    bases = rows.bases()
    for key in rows.keys_of_several():
        oldest_first = [candidate for candidate in rows.similar(key, _MOST_WHOLE) if candidate.is_whole][::-1]
        staying: list[Candidate] = []
        for chunk in sorted(oldest_first, key=lambda chunk: (chunk.digest not in bases, -chunk.raw_length)):
            found = choices(chunk.sketch, chunk.raw_length, staying) if chunk.digest not in bases else []
            if found:
                yield Plan(key, chunk, tuple(found))
            else:
                staying.append(chunk)
