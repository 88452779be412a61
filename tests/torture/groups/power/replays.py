"""The disk as the calls of the seam would leave it: laid out without a mount, in user space."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.crash.operations import OPERATIONS
from tests.crash.power_cuts import check_moment, one_thread, record
from tests.quick_disk import quick_directory
from tests.torture.plan import Outcome, Plan

_OUTCOMES: Final = 1
"""Drawn at random at each point, besides the least that the disk must hold and all names with no more."""


def run(plan: Plan) -> Iterator[Outcome]:
    """Every point of every operation; a short run takes the end of each, where all is acknowledged, and one more."""
    points, failures = 0, []
    chance = plan.random("replays")
    with quick_directory() as directory, one_thread():
        for operation in OPERATIONS:
            with tempfile.TemporaryDirectory(dir=directory) as name:
                moments = record(Path(name), operation)
                end = len(moments) - 1
                chosen = {chance.randrange(end), end} if plan.is_short else set(range(end + 1))
                for at in sorted(chosen):
                    points += 1
                    try:
                        check_moment(Path(name), operation, moments, at, 0 if plan.is_short else _OUTCOMES)
                    except Exception as error:
                        failures.append(
                            f"{' '.join(error.__notes__)}: {type(error).__name__} {error}, seed {plan.seed}"
                        )
    yield Outcome("cuts replayed from the recorded calls", points, tuple(failures), f"{len(OPERATIONS)} operations")
