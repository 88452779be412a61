"""The sweeps: each kind of fault at each call of each command, from outside and through the seam."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.torture.groups.faults.commands import COMMANDS
from tests.torture.groups.faults.driver import Driver, Ended, Tracing, verdict

_SYNCS = ("fsync", "fdatasync")
_WRITES = ("write", "writev", "pwrite64")
_CHANGES = ("mkdir", "rename", "symlink", "link", "ftruncate", "copy_file_range")
_READS = ("read", "pread64", "getdents64", "openat", "unlink")
_CLASSES = {name: names[0] for names in (_SYNCS, _WRITES, _CHANGES, _READS) for name in names}
_OF_SQLITE = re.compile(r"/index\.sqlite3[^/]*>|fdatasync\(\d+</[^>]*/scene/store>")
"""Its files, and the directory in which it has made one; the product's own syncs of directories are fsyncs."""
_BELOW = re.compile(r"(?<=packs)/.*|(?<=leases)/.*|(?<=downloads)/.*|(?<=out)/.*|(?<=hf)/.*|(?<=shelf)/.*")
"""What is below a directory in which names are random, or many."""
_SEAM = ("ENOSPC", "EIO", "EROFS")
_FEWEST_FILES, _MOST_FILES = 4, 40
_FULL = frozenset({5})

_Point = TypeVar("_Point")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: of which system calls, what to inject, and the exit codes that say so.

    One that may last goes on to the end with every other point, but for ``write``, with which errors are told.
    """

    what: str
    calls: tuple[str, ...]
    inject: str
    codes: frozenset[int]
    may_last: bool = False


# 4: what cannot be read is damaged, for all that anyone can tell. 1: so with files that are not the store's.
KINDS = (
    Kind("ENOSPC", (*_WRITES, *_CHANGES, *_SYNCS), "error=ENOSPC", _FULL, may_last=True),
    Kind("EIO", (*_READS, *_WRITES, *_CHANGES, *_SYNCS), "error=EIO", frozenset({1, 4, 5})),
    Kind("EMFILE", ("openat", "dup", "socket"), "error=EMFILE", frozenset({5, 6})),
    Kind("nothing written", _WRITES, "retval=0", _FULL),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which points are taken: so many of each command, or with None one of each class of calls, whatever command."""

    points: int | None
    chance: random.Random

    def of(
        self, every: Iterable[_Point], command: Callable[[_Point], str], kind: Callable[[_Point], object]
    ) -> Iterator[_Point]:
        """Those points, in order."""
        groups: dict[object, list[_Point]] = {}
        for point in every:
            groups.setdefault(kind(point) if self.points is None else command(point), []).append(point)
        most = self.points or 1
        for group in groups.values():
            places = sorted(self.chance.sample(range(len(group)), min(most, len(group))))
            yield from (group[place] for place in places)


def outside(driver: Driver, kind: Kind, choice: Choice) -> Iterator[str | None]:
    """Inject one kind of fault into the system calls of each command; gives what did not hold, point by point."""
    every = [
        (command, name, at)
        for command in COMMANDS
        for name, calls in driver.fault(command, {}, Tracing(kind.calls)).calls().items()
        for at in range(1, calls + 1)
    ]
    for command, name, at in choice.of(every, lambda point: point[0], lambda point: _CLASSES.get(point[1])):
        lasting = "+" if kind.may_last and name != "write" and choice.chance.random() < 0.5 else ""
        tracing = Tracing((name,), f"{name}:{kind.inject}:when={at}{lasting}")
        ended = driver.fault(command, {}, tracing)
        if ended.injected:
            wrong = verdict(command, ended, kind.codes) or _ignored_sync(ended) or driver.check(command, ended)
            yield f"{command}, {tracing.inject}: {wrong} {ended.injected[0]}" if wrong else None


def _ignored_sync(ended: Ended) -> str | None:
    """Success after a sync that failed. SQLite may pass over one of its own: what its log loses, the journal has."""
    if ended.status == 0:
        for call in ended.injected:
            if any(f" {name}(" in call for name in _SYNCS) and not _OF_SQLITE.search(call):
                return "succeeds though a sync has failed"
    return None


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of the seam: the ``at``-th of all, and the ``nth`` of its operation."""

    command: str
    operation: str
    path: str
    at: int
    nth: int

    @property
    def kind(self) -> tuple[str, str]:
        """What is done, and in which directory of the store or beside it."""
        return self.operation, _BELOW.sub("", self.path.rpartition("/scene/")[2])


def through_the_seam(
    driver: Driver, calls: Mapping[str, list[tuple[str, str]]], choice: Choice
) -> Iterator[str | None]:
    """Fail the calls of the product's own seam, one or all from one on, as no tracer is needed for."""
    for call in choice.of(_numbered(calls), lambda call: call.command, lambda call: call.kind):
        lasting = choice.chance.random() < 0.3
        fault = {
            "seam": choice.chance.choice(_SEAM),
            "operation": None if lasting else call.operation,
            "at": call.at if lasting else call.nth,
            "lasting": lasting,
        }
        yield _judged(driver, call.command, fault, _FULL, may_succeed=lasting or call.operation != "fsync")


def _numbered(calls: Mapping[str, list[tuple[str, str]]]) -> Iterator[_Call]:
    for command, of_command in calls.items():
        seen: Counter[str] = Counter()
        for at, (operation, path) in enumerate(of_command):
            yield _Call(command, operation, path, at, seen[operation])
            seen[operation] += 1


def short_writes(driver: Driver, writes: Mapping[str, int], choice: Choice) -> Iterator[str | None]:
    """Let the system take half of what is written: nobody may notice."""
    every = [(command, at) for command, number in writes.items() for at in range(number)]
    for command, at in choice.of(every, lambda point: point[0], lambda point: point[0]):
        yield _judged(driver, command, {"short": at}, frozenset())


def few_files(driver: Driver, choice: Choice) -> Iterator[str | None]:
    """Let a command have no more than so many files open (`ulimit -n`)."""
    every = [(command, limit) for command in COMMANDS for limit in range(_FEWEST_FILES, _MOST_FILES)]
    for command, limit in choice.of(every, lambda point: point[0], lambda point: point[1] // 12):
        yield _judged(driver, command, {"limit": limit}, frozenset({5, 6}))


def _judged(
    driver: Driver, command: str, fault: Mapping[str, Any], codes: frozenset[int], *, may_succeed: bool = True
) -> str | None:
    ended = driver.fault(command, fault)
    wrong = verdict(command, ended, codes) or driver.check(command, ended)
    if ended.status == 0 and not may_succeed:
        wrong = "succeeds though a sync has failed"
    return f"{command}, {json.dumps(fault)}: {wrong}" if wrong else None
