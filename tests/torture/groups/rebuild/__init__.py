"""The index gone or torn: `casmodels repair` brings everything back from packs and journal, and nothing else.

Stores with deltas, casts, tags and pins, with versions that are removed, collected or were never committed. Their index
is deleted, cut short, overwritten in places, set back by an hour, or loses its log; then repair runs. Afterwards every
version, tag and pin is there, to the byte and in its order; what was removed or never committed is not; the store is
sound, takes new versions, collects, and says the same after one more rebuild, of directories outside too. What can be
read before the repair is right, too. And the time that a rebuild takes, beside that of reading the same packs from one
end to the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.torture.groups.rebuild.samples import Sample, make_sample
from tests.torture.groups.rebuild.speed import speeds
from tests.torture.groups.rebuild.survival import Trial
from tests.torture.groups.rebuild.tears import TEARS
from tests.torture.plan import Mutation, Outcome, Plan

_FULL: Final = 240
_SHORT: Final = len(TEARS)
_FULL_SAMPLES: Final = 12
_SHORT_SAMPLES: Final = 2


def run(plan: Plan) -> Iterator[Outcome]:
    """First the tears, then the time."""
    samples = [
        make_sample(plan.work / f"sample-{number}", plan.random(f"sample {number}"), is_rebuilt=number % 2 == 1)
        for number in range(_SHORT_SAMPLES if plan.is_short else _FULL_SAMPLES)
    ]
    yield _tears(plan, samples)
    yield from speeds(plan)


def _tears(plan: Plan, samples: list[Sample]) -> Outcome:
    failures: list[str] = []
    refused = 0
    count = _SHORT if plan.is_short else _FULL
    names = list(TEARS)
    for number in range(count):
        chance = plan.random(f"tear {number}")
        sample, name = samples[number // len(names) % len(samples)], names[number % len(names)]
        trial = Trial(sample, plan.work / "torn", chance, by_command=number % 20 == 0)
        failures += [f"tear {number} ({name}, seed {plan.seed}): {failure}" for failure in trial.run(TEARS[name])]
        refused += trial.was_refused
    note = f"{len(names)} kinds; {refused} times the store refused to open until it was repaired"
    return Outcome("index torn, then repaired", count, tuple(failures), note)


MUTATIONS: Final = [
    Mutation(
        "a rebuild forgets that refs were removed",
        "store/casstore/maintenance/rebuild.py",
        "for operation in operations if isinstance(operation, RefMoved)]",
        "for operation in operations if isinstance(operation, RefMoved) and operation.new is not None]",
    ),
    Mutation(
        "a rebuild forgets that packs were removed",
        "store/casstore/maintenance/rebuild.py",
        "        packs=[pack_id for pack_id in added if pack_id not in removed],",
        "        packs=list(added),",
    ),
    Mutation(
        "a rebuild adopts packs that were never committed",
        "store/casstore/maintenance/rebuild.py",
        "            if history.has_gaps or begun > history.sequence:",
        "            if history.has_gaps or begun >= 0:",
    ),
    Mutation(
        "a rebuild believes that every recipe is whole",
        "store/casstore/maintenance/wholeness.py",
        "        if all(_are_there(rows, chunks) for chunks in outline.chunks()):",
        "        if outline.chunks():",
    ),
    Mutation(
        "a rebuild forgets what lies in directories",
        "store/casstore/maintenance/rebuild.py",
        ".take_over(places if are_ours else ())",
        ".take_over(())",
    ),
    Mutation(
        "of two copies of a frame a rebuild takes the older",
        "store/casstore/index/filling.py",
        "max(rowid)",
        "min(rowid)",
    ),
]
