"""Which calls of a command to kill it at."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from random import Random

ENDS = 50
"""So many of the first and of the last calls belong to every long list of points."""

_VARIABLE = re.compile(r"[0-9a-f]{8,}|\d+|(?<=models--)[\w-]+")

Window = tuple[str, str]
"""What lies between a call of one kind and the next of another."""


def choose(calls: Sequence[str], wanted: int, random: Random, covered: set[Window]) -> list[int]:
    """The places, from 1 on, of so many calls, in order: all where they are few.

    Of many, the first and the last fifty and others at random. Where there is no room for those, one of each window;
    first those that are not ``covered``, and of them the rare ones. They are then.
    """
    places = range(1, len(calls) + 1)
    if wanted >= len(calls):
        return list(places)
    if wanted >= 2 * ENDS:
        ends = {*places[:ENDS], *places[-ENDS:]}
        return sorted(ends.union(random.sample(sorted(set(places) - ends), wanted - len(ends))))
    windows: dict[Window, list[int]] = defaultdict(list)
    kinds = ["", *(_VARIABLE.sub("*", call) for call in calls)]
    for place in places:
        windows[kinds[place - 1], kinds[place]].append(place)
    shuffled = random.sample(list(windows), len(windows))
    chosen = sorted(shuffled, key=lambda window: (window in covered, len(windows[window])))[:wanted]
    covered.update(chosen)
    return sorted(random.choice(windows[window]) for window in chosen)
