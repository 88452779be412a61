"""The gc protocol in every order of its steps: a model of it exhaustively, and the product itself as far as time goes.

The model (`model`, `actors`, `maintenance`) says in some 300 lines what look-ups, writers, gc and compact do to rows,
packs, refs and leases; `explorer` takes every order of their steps, with kills before any. At every moment: what is
committed lacks nothing, and what a look-up shows is whole. At the end: all have ended, and a last gc leaves what is
needed and nothing else. `real` takes the product through orders of the same steps (`turns`): those in which one stands
still while the others run, and in full runs every order, as far as 600, and 200 at random.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from tests.torture.groups.interleavings import real
from tests.torture.groups.interleavings.explorer import explore
from tests.torture.groups.interleavings.scenes import LARGE, SMALL
from tests.torture.groups.interleavings.turns import AllOrders, InRuns, OneStandsStill
from tests.torture.plan import Mutation, Outcome, Plan

_MOST_STATES: Final = 1_500_000
"""What takes about 1 GiB and some minutes; a larger scene is looked at as far as that."""

_MOST_ORDERS: Final = 600
_AT_RANDOM: Final = 200


def run(plan: Plan) -> Iterator[Outcome]:
    """The model, then the product."""
    for scene in SMALL if plan.is_short else SMALL + LARGE:
        begun = time.monotonic()
        found = explore(scene, _MOST_STATES)
        extent = "every order" if found.is_all else "the nearest states only"
        note = f"{extent}: {found.steps:,} steps between them, {time.monotonic() - begun:.0f} s"
        yield Outcome(f"model: {scene.what}", found.states, _failures(found.failure), note)
    for real_scene in real.SCENES:
        if len(real_scene.works) == 2 or not plan.is_short:
            yield _orders(plan, real_scene)
    failure = real.what_is_stored_anew_while_compact_reads(_new(plan, "anew"))
    yield Outcome("product: a chunk is stored whole while compact has it in hand", 1, _failures(failure))


def _orders(plan: Plan, scene: real.RealScene) -> Outcome:
    """Those in which one stands still while the others run. In a full run then every order, if there are few enough,
    and some at random in which somebody is broken off, too."""
    stage = real.Stage(_new(plan, scene.what), scene)
    chance = plan.random(scene.what)
    played = [stage.play(choose) for choose in _standing_still(chance, scene)]
    note = f"{len(played)} in which one stands still"
    if not plan.is_short:
        orders, is_left = AllOrders(), True
        before = len(played)
        while is_left and len(played) - before < _MOST_ORDERS:
            played.append(stage.play(orders))
            is_left = orders.go_on()
        note += f", {'the first' if is_left else 'all'} {len(played) - before:,} orders, {_AT_RANDOM:,} at random"
        played += [stage.play(InRuns(chance), may_break_off=bool(number % 2)) for number in range(_AT_RANDOM)]
    return Outcome(f"product: {scene.what}", len(played), tuple(filter(None, played)), note)


def _standing_still(chance: Random, scene: real.RealScene) -> Iterator[OneStandsStill]:
    """One of the actors after the other, before each of its steps; the others in a random order."""
    for first in scene.works:
        others = [name for name in scene.works if name != first]
        chance.shuffle(others)
        for steps in itertools.count():
            choose = OneStandsStill((first, *others), steps)
            yield choose
            if not choose.has_stood_still:
                break


def _new(plan: Plan, what: str) -> Path:
    path = plan.work / what.replace(" ", "-")
    path.mkdir()
    return path


def _failures(failure: str | None) -> tuple[str, ...]:
    return (failure,) if failure is not None else ()


_MODEL: Final = "tests/torture/groups/interleavings/"
_GC: Final = "store/casstore/maintenance/gc.py"

MUTATIONS: list[Mutation] = [
    Mutation(
        "gc does not wait for leases",
        _GC,
        "    if wait_for_leases(directory, leases, silent_seconds):",
        "    if wait_for_leases(directory, [], silent_seconds):",
    ),
    Mutation(
        "a commit does not acquit",
        "store/casstore/transactions.py",
        "            if rows.any_condemned():\n                self._acquit(kind, digest)\n",
        "",
    ),
    Mutation(
        "a pack that is entered on the way does not acquit what its deltas need",
        "store/casstore/transactions.py",
        "            rows.acquit(with_bases(self._engine, self._new_bases()))\n",
        "",
    ),
    Mutation(
        "what is committed while gc walks is condemned",
        _GC,
        "            if ledger.sequence != sequence:\n",
        "            if ledger.sequence < sequence:\n",
    ),
    Mutation(
        "gc and compact do not keep each other out",
        _GC,
        "    return exclusive(engine.layout.maintenance_lock, ",
        '    return exclusive(engine.layout.maintenance_lock.with_suffix(f".{id(engine)}"), ',
    ),
    Mutation(
        "compact moves a row wherever it lies by now",
        "store/casstore/index/rows.py",
        "pack = (SELECT number FROM packs WHERE id = ?) AND offset = ? AND (? IS NULL",
        "? IS NOT NULL AND ? IS NOT NULL AND (? IS NULL",
    ),
    Mutation(
        "a lease is dropped before the commit",
        "store/casstore/store.py",
        "            transaction = Transaction(engine, lease.name)\n",
        "            (self.layout.leases / lease.name).unlink()\n"
        "            transaction = Transaction(engine, lease.name)\n",
    ),
    Mutation(
        "in the model, gc does not wait for leases",
        _MODEL + "maintenance.py",
        '        return None if leases & state.leases else (state, ("_delete", number, strangers))\n',
        '        return None if not leases | {"w1"} else (state, ("_delete", number, strangers))\n',
    ),
    Mutation(
        "in the model, gc unlinks packs that a writer is about to enter",
        _MODEL + "maintenance.py",
        "unlinked(state, place[0] - state.entered)",
        "unlinked(state, frozenset(pack for pack, _ in state.files) - state.entered)",
    ),
    Mutation(
        "in the model, a commit does not acquit",
        _MODEL + "actors.py",
        "        rows.acquit(rows.closure([self.recipe]))\n",
        "",
    ),
    Mutation(
        "in the model, a commit while gc walks is not noticed",
        _MODEL + "maintenance.py",
        "rows.closure(state.refs) if state.has_moved_on else reached",
        "reached",
    ),
    Mutation(
        "in the model, readers do not look again where a pack is gone",
        _MODEL + "actors.py",
        "            is_elsewhere = again is not None and again.pack != row.pack\n",
        "            is_elsewhere = again is None\n",
    ),
]
