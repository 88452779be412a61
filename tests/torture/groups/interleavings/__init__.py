"""The gc protocol in every order of its steps: a model of it exhaustively, and the product itself as far as time goes.

The model (`model`, `actors`, `maintenance`) says in some 300 lines what look-ups, writers, gc and compact do to rows,
packs, refs and leases; `explorer` takes every order of their steps, with kills before any. At every moment: what is
committed lacks nothing, and what a look-up shows is whole. At the end: all have ended, and a last gc leaves what is
needed and nothing else. `real` takes the product through orders of the same steps (`turns`): all orders of two actors,
and of more at random.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.torture.groups.interleavings import real
from tests.torture.groups.interleavings.explorer import explore
from tests.torture.groups.interleavings.scenes import LARGE, SMALL
from tests.torture.groups.interleavings.turns import AllOrders
from tests.torture.plan import Mutation, Outcome, Plan

_MOST_STATES: Final = 8_000_000
_SHORT_ORDERS: Final = 12
_FULL_ORDERS: Final = 2_500
_AT_RANDOM: Final = 1_000


def run(plan: Plan) -> Iterator[Outcome]:
    """The model, then the product."""
    for scene in SMALL if plan.is_short else SMALL + LARGE:
        begun = time.monotonic()
        found = explore(scene, _MOST_STATES)
        note = f"every order: {found.steps:,} steps between these states, {time.monotonic() - begun:.0f} s"
        yield Outcome(f"model: {scene.what}", found.states, _failures(found.failure), note)
    for real_scene in real.SCENES:
        yield _orders(plan, real_scene)
    failure = real.what_is_stored_anew_while_compact_reads(_new(plan, "anew"))
    yield Outcome("product: a chunk is stored whole while compact has it in hand", 1, _failures(failure))


def _orders(plan: Plan, scene: real.RealScene) -> Outcome:
    """Every order where there are few enough; and some at random in which somebody is broken off, too."""
    stage = real.Stage(_new(plan, scene.what), scene)
    orders, failures = AllOrders(), list[str]()
    most = _SHORT_ORDERS if plan.is_short else _FULL_ORDERS
    points, is_all = 0, False
    while not plan.is_short and points < most and not is_all:
        points += 1
        failures += _failures(stage.play(orders))
        is_all = not orders.go_on()
    chance = plan.random(scene.what)
    for number in range(most if plan.is_short else _AT_RANDOM):
        points += 1
        failures += _failures(stage.play(chance.randrange, may_break_off=bool(number % 2)))
    note = "every order, and" if is_all else f"{points - _AT_RANDOM:,} orders, and" if not plan.is_short else ""
    return Outcome(f"product: {scene.what}", points, tuple(failures), f"{note} orders at random".strip())


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
        "gc lists the leases before it condemns",
        _GC,
        "    # Only now: an operation that begins after the condemn sees nothing condemned and need not be waited for.\n"
        "    with ledger.locked():\n"
        "        ledger.meta.put(_LEASES, json.dumps(open_leases(engine.layout.leases)))\n",
        "    with ledger.locked():\n        ledger.meta.put(_LEASES, json.dumps([]))\n",
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
        "gc unlinks packs that a writer is about to enter",
        _GC,
        "    for pack_id in engine.ledger.never_entered(strangers) if strangers else ():\n",
        "    for pack_id in set(list_packs(engine.layout.packs)) - engine.ledger.rows.pack_ids():\n",
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
        "            transaction = Transaction(engine, lease.name)\n            (self.layout.leases / lease.name).unlink()\n",
    ),
    Mutation(
        "in the model, gc does not wait for leases",
        _MODEL + "maintenance.py",
        "            if not place[3] & state.leases:\n",
        "            if place[3] is not None:\n",
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
        "rows.closure(state.refs) if state.has_moved_on else place[2]",
        "place[2]",
    ),
    Mutation(
        "in the model, readers do not look again where a pack is gone",
        _MODEL + "actors.py",
        "            is_elsewhere = again is not None and again.pack != row.pack\n",
        "            is_elsewhere = again is None\n",
    ),
]
