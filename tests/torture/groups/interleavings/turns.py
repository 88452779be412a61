"""Taking turns: threads that run the product, one at a time, and stop where another's step could come between.

They stop before they take a lease, before each transaction under the commit lock, before maintenance's lock, and where
gc waits for leases; nobody stops within a transaction, so whoever is let go on can.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from casstore import leases
from casstore.leases import Lease
from casstore.ledger import Ledger
from casstore.maintenance import gc
from casstore.transactions import Transaction

Choose: TypeAlias = Callable[[int], int]
"""Which of so many goes next."""

_LONGEST_STEP_SECONDS = 60.0


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
        found = wrong or (errors[0] if errors else None)
        return found

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
            chosen = self._choose(len(ready) + (len(left) if may_kill else 0))
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
        exclusive, wait, seal = gc.exclusive, gc.wait_for_leases, Transaction._seal

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


class AllOrders:
    """Chooses so that one run after another takes every order once."""

    def __init__(self) -> None:
        self._prefix: list[int] = []
        self._taken: list[tuple[int, int]] = []

    def __call__(self, number: int) -> int:
        """The next of the order that is to be taken, and then the first of each."""
        at = len(self._taken)
        chosen = self._prefix[at] if at < len(self._prefix) else 0
        self._taken.append((chosen, number))
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
