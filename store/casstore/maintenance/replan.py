"""Better bases found later: chunks that came in before what they are like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from casstore.engine import Engine
from casstore.index.rows import Candidate
from casstore.index.whole import Alike, whole_chunks_alike
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
    with whole_chunks_alike(engine.ledger.rows, _MOST_WHOLE) as groups:
        for alike in groups:
            yield from _of_one_key(alike)


def _of_one_key(alike: Alike) -> Iterator[Plan]:
    staying: list[Candidate] = []
    # The sort is stable: where neither is a base and both are as wide, the older comes first.
    for chunk in sorted(alike.chunks, key=lambda chunk: (chunk.digest not in alike.bases, -chunk.raw_length)):
        found = choices(chunk.sketch, chunk.raw_length, staying) if chunk.digest not in alike.bases else []
        if found:
            yield Plan(alike.key, chunk, tuple(found))
        else:
            staying.append(chunk)
