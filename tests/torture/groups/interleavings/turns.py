"""Taking turns: threads that run the product, one at a time, and stop where another's step could come between.

They stop before they take a lease, before each transaction under the commit lock, before maintenance's lock, and where
gc waits for leases; nobody stops within a transaction, so whoever is let go on can.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from casstore import leases
from casstore.leases import Lease
from casstore.ledger import Ledger
from casstore.maintenance import gc
from casstore.transactions import Transaction

Choose: TypeAlias = Callable[[Sequence[str]], int]
"""Which of these goes next: a thread, or by the same name again its being broken off."""

_LONGEST_STEP_SECONDS = 60.0
_CHANGES = 0.35


class Killed(BaseException):
    """Ends a thread where it has stopped, as a kill ends a process."""


def _always() -> bool:
    return True


@dataclass
class _Taker:
    name: str
    work: Callable[[], object]
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    is_ready: Callable[[], bool] = _always
    at: str = "its beginning"
    has_ended: bool = False
    is_to_die: bool = False
    error: BaseException | None = None


class Turns:
    """Runs works in threads of their own, in the order that ``choose`` says, and ``check`` after every step."""

    def __init__(self, works: dict[str, Callable[[], object]], choose: Choose, check: Callable[[], str | None]) -> None:
        self._takers = [_Taker(name, work) for name, work in works.items()]
        self._by_thread: dict[int, _Taker] = {}
        self._choose = choose
        self._check = check
        self._stopped = threading.Semaphore(0)
        self.order: list[str] = []

    def run(self, *, may_kill: bool = False) -> str | None:
        """Until all have ended; what did not hold."""
        threads = [threading.Thread(target=self._live, args=(taker,), daemon=True) for taker in self._takers]
        with self._seams():
            for thread in threads:
                thread.start()
            wrong = self._take_turns(may_kill)
            for taker in self._takers:  # what goes on after a failure is not looked at
                while not taker.has_ended:
                    taker.is_to_die = True
                    self._step(taker)
            for thread in threads:
                thread.join()
        errors = [f"{taker.name} ended with {taker.error!r}" for taker in self._takers if taker.error is not None]
        return wrong or (errors[0] if errors else None)

    def pause(self, at: str, is_ready: Callable[[], bool] = _always) -> None:
        """Let another have its turn; a thread that is none of these goes on at once."""
        taker = self._by_thread.get(threading.get_ident())
        if taker is None or taker.has_ended:
            return
        taker.at, taker.is_ready = at, is_ready
        self._stopped.release()
        taker.go.acquire()
        if taker.is_to_die:
            taker.has_ended = True
            raise Killed

    def _take_turns(self, may_kill: bool) -> str | None:
        while left := [taker for taker in self._takers if not taker.has_ended]:
            ready = [taker for taker in left if taker.is_ready()]
            if not ready:
                return f"nobody can go on, {', '.join(f'{taker.name} at {taker.at}' for taker in left)}"
            chosen = self._choose([taker.name for taker in ready + (left if may_kill else [])])
            if chosen >= len(ready):
                taker = left[chosen - len(ready)]
                taker.is_to_die, may_kill = True, False
                self.order.append(f"{taker.name} is killed before {taker.at}")
            else:
                taker = ready[chosen]
                self.order.append(f"{taker.name} goes on from {taker.at}")
            self._step(taker)
            if (wrong := self._check()) is not None:
                return wrong
        return None

    def _step(self, taker: _Taker) -> None:
        taker.go.release()
        if not self._stopped.acquire(timeout=_LONGEST_STEP_SECONDS):
            raise TimeoutError(f"{taker.name} hangs after {taker.at}: {'; '.join(self.order)}")

    def _live(self, taker: _Taker) -> None:
        self._by_thread[threading.get_ident()] = taker
        taker.go.acquire()
        try:
            if not taker.is_to_die:
                taker.work()
        except Killed:
            pass
        except BaseException as error:
            taker.error = error
        taker.has_ended = True
        self._stopped.release()

    @contextmanager
    def _seams(self) -> Iterator[None]:
        """Stop at what is between two steps."""
        locked, take = Ledger.locked, Lease.__dict__["take"]
        exclusive, wait, seal = leases.exclusive, leases.wait_for_leases, Transaction._seal

        def locked_in_turn(ledger: Ledger) -> AbstractContextManager[None]:
            self.pause("a transaction")
            return locked(ledger)

        def take_in_turn(directory: Path) -> Lease:
            self.pause("Lease.take")
            lease: Lease = take.__func__(Lease, directory)
            return lease

        def exclusive_in_turn(path: Path, wait_seconds: float, *, busy: str) -> AbstractContextManager[None]:
            self.pause("maintenance_lock", lambda: not leases._is_held(path))
            return exclusive(path, wait_seconds, busy=busy)

        def wait_in_turn(directory: Path, names: list[str], wait_seconds: float) -> bool:
            self.pause("wait_for_leases", lambda: wait(directory, names, 0))
            return wait(directory, names, wait_seconds)

        def seal_at_once(transaction: Transaction) -> None:
            seal(transaction)
            for sealing in transaction._sealing:
                sealing.exception()  # so that packs are entered in the same order every time

        patched: list[tuple[Any, str, Any, Any]] = [
            (Ledger, "locked", locked, locked_in_turn),
            (Lease, "take", take, staticmethod(take_in_turn)),
            (gc, "exclusive", exclusive, exclusive_in_turn),
            (gc, "wait_for_leases", wait, wait_in_turn),
            (Transaction, "_seal", seal, seal_at_once),
        ]
        for where, name, _, new in patched:
            setattr(where, name, new)
        try:
            yield
        finally:
            for where, name, old, _ in patched:
                setattr(where, name, old)


class InRuns:
    """Chooses at random, mostly the same several times: what goes wrong needs one to stand still while others run."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._last = 0

    def __call__(self, names: Sequence[str]) -> int:
        """The same as before, or another."""
        if self._last >= len(names) or self._chance.random() < _CHANGES:
            self._last = self._chance.randrange(len(names))
        return self._last


class OneStandsStill:
    """Lets one go so many steps, then the others to their ends, one after the other, and then that one again."""

    def __init__(self, names: Sequence[str], steps: int) -> None:
        self._names = names
        self._left = steps
        self.has_stood_still = False

    def __call__(self, names: Sequence[str]) -> int:
        """The first of the names until it is to stand still, and from then on the last."""
        first, *others = self._names
        if self._left and first in names:
            self._left -= 1
            return names.index(first)
        self.has_stood_still = self.has_stood_still or first in names
        return next(names.index(name) for name in (*others, first) if name in names)


class AllOrders:
    """Chooses so that one run after another takes every order once."""

    def __init__(self) -> None:
        self._prefix: list[int] = []
        self._taken: list[tuple[int, int]] = []

    def __call__(self, names: Sequence[str]) -> int:
        """The next of the order that is to be taken, and then the first of each."""
        at = len(self._taken)
        chosen = self._prefix[at] if at < len(self._prefix) else 0
        self._taken.append((chosen, len(names)))
        return chosen

    def go_on(self) -> bool:
        """Begin the next order; False after the last one."""
        taken, self._taken = self._taken, []
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return False
        self._prefix = [chosen for chosen, _ in taken[:-1]] + [taken[-1][0] + 1]
        return True
