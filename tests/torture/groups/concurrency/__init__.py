"""Four writers, two readers, gc and compact at once, each a process of its own, for half an hour.

They are stopped (SIGSTOP) for a while and killed (SIGKILL) at random moments; who was killed begins again. They use the
library, and now and then a command. What a version must hold follows from its message, so every reader can tell. In the
end everything that was acknowledged is there to the byte, nothing is there that was taken away, `verify --data` finds
nothing, and one gc leaves only what is needed.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.quick_disk import quick_directory
from tests.torture.groups.concurrency.aftermath import what_is_wrong
from tests.torture.groups.concurrency.records import Told, read_records
from tests.torture.groups.concurrency.supervisor import Faults, supervise
from tests.torture.groups.concurrency.workers import Place
from tests.torture.plan import Mutation, Outcome, Plan

FULL_SECONDS = 1800.0
SHORT_SECONDS = 120.0
LONGEST_WAIT_SECONDS = 60.0
"""Nobody may wait longer: so long a gc waits for others before it gives up, and others stop for two seconds at most."""


def run(plan: Plan) -> Iterator[Outcome]:
    """All at once; the seed draws what they do and when they are stopped, but not how the kernel runs them."""
    seconds = SHORT_SECONDS if plan.is_short else FULL_SECONDS
    with quick_directory() as work:
        place = Place(work, 0.01 if plan.is_short else 0.1)
        place.records.mkdir()
        (work / "config.toml").touch()
        faults, hanging = supervise(place, plan, seconds)
        told = read_records(place.records)
        afterwards = tuple(what_is_wrong(place, told))
    done = sum(len(each) for each in told.seconds.values())
    yield Outcome(
        "operations of 8 processes at once", done, (*hanging, *told.failures, *_too_long(told, plan)), _note(told)
    )
    yield Outcome("stopped and killed meanwhile", faults.stops + faults.kills, (), _faults_note(faults))
    yield Outcome("versions looked at afterwards", len(told.alive), afterwards, "verify --data, one gc")


def _too_long(told: Told, plan: Plan) -> Iterator[str]:
    for what, seconds in told.seconds.items():
        if max(seconds) > LONGEST_WAIT_SECONDS:
            yield f"{what} took {max(seconds):.0f} s"
    for what in ("save", "read", "gc", "compact"):
        if not plan.is_short and not told.seconds.get(what):
            yield f"nobody got a turn to {what}"


def _note(told: Told) -> str:
    return ", ".join(
        f"{what} {len(seconds):,} (median {sorted(seconds)[len(seconds) // 2]:.2f} s, longest {max(seconds):.1f} s"
        + (f", refused {told.refused[what]})" if what in told.refused else ")")
        for what, seconds in sorted(told.seconds.items())
    )


def _faults_note(faults: Faults) -> str:
    return f"{faults.stops:,} times SIGSTOP, for 2 s at most, and {faults.kills:,} times SIGKILL"


MUTATIONS: list[Mutation] = [
    Mutation(
        "the lease of a dead process counts",
        "store/casstore/leases.py",
        "                path.unlink(missing_ok=True)\n            except",
        "                held.append(path.name)\n            except",
    ),
    Mutation(
        "what a delta is stored against is not thought to be needed",
        "store/casstore/closure.py",
        "        found = {base for _, _, base in lengths if base is not None} - seen\n",
        "        found = {base for _, _, base in lengths if base is None} - {None}\n",
    ),
    Mutation(
        "gc takes packs that are being written for a dead writer's",
        "store/casstore/packs.py",
        "            except BlockingIOError:\n                continue\n",
        "            except BlockingIOError:\n                pass\n",
    ),
]
