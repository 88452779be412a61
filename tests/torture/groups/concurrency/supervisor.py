"""Starts the processes, stops and kills them at random, starts them again, and sees to it that they end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import traceback
from dataclasses import dataclass

from tests.forks import in_child
from tests.torture.groups.concurrency.contents import lay_out, new_token
from tests.torture.groups.concurrency.records import Record
from tests.torture.groups.concurrency.workers import WORKERS, Place
from tests.torture.plan import Plan

_LONGEST_STOP_SECONDS = 2.0
_LONGEST_END_SECONDS = 90.0


@dataclass
class Faults:
    """How often processes were stopped for a while, and killed."""

    stops: int = 0
    kills: int = 0


def supervise(place: Place, plan: Plan, seconds: float) -> tuple[Faults, list[str]]:
    """Let all of it go on for so long; gives how much was thrown in, and a sentence for each that did not end."""
    with place.opened() as store:  # loads what the processes need before they are forked
        lay_out(token := new_token(plan.random("first"), "first"), place.work / "first")
        store.checkpoint("first", place.work / "first", message=token)
        store.compact()
    crowd = _Crowd(place, plan)
    crowd.begin_all()
    faults, chance = Faults(), plan.random("faults")
    longest_pause = min(1.0, seconds / 10)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.02, longest_pause))
        crowd.wake(time.monotonic())
        name = chance.choice(list(WORKERS))
        if chance.random() < 0.5:
            crowd.stop(name, time.monotonic() + chance.uniform(0.05, min(_LONGEST_STOP_SECONDS, seconds / 5)))
            faults.stops += 1
        else:
            crowd.kill(name)
            crowd.begin(name)
            faults.kills += 1
    return faults, crowd.end_all()


class _Crowd:
    def __init__(self, place: Place, plan: Plan) -> None:
        self._place = place
        self._plan = plan
        self._pids: dict[str, int] = {}
        self._stopped: dict[str, float] = {}
        self._begun = 0

    def begin_all(self) -> None:
        for name in WORKERS:
            self.begin(name)

    def begin(self, name: str) -> None:
        """Start a process, in a group of its own with the commands that it runs."""
        self._begun += 1
        number = self._begun

        def live() -> None:
            os.setpgid(0, 0)
            record = Record(self._place.records / f"{number:06} {name}.jsonl")
            try:
                WORKERS[name](self._place, name, record, self._plan.random(f"{name} {number}"))
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                record.fail(f"{error!r} at {where.filename}:{where.lineno}")

        self._pids[name] = in_child(live)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpgid(self._pids[name], self._pids[name])

    def stop(self, name: str, until: float) -> None:
        self._signal(name, signal.SIGSTOP)
        self._stopped[name] = until

    def wake(self, now: float) -> None:
        """Let those go on that have been stopped for long enough."""
        for name, until in list(self._stopped.items()):
            if until <= now:
                self._signal(name, signal.SIGCONT)
                del self._stopped[name]

    def kill(self, name: str) -> None:
        self._signal(name, signal.SIGKILL)
        os.waitpid(self._pids[name], 0)
        self._stopped.pop(name, None)

    def end_all(self) -> list[str]:
        """Ask all to end, and wait; who does not is killed and named."""
        (self._place.work / "stop").touch()
        self.wake(float("inf"))
        hanging = []
        deadline = time.monotonic() + _LONGEST_END_SECONDS
        for name, pid in self._pids.items():
            while os.waitpid(pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    hanging.append(f"{name} does not end")
                    self.kill(name)
                    break
                time.sleep(0.01)
        return hanging

    def _signal(self, name: str, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pids[name], number)
