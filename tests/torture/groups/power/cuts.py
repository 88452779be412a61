"""Commands in a row on a real file system, and the power cut in the middle of one or right after it."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.hub import FakeHub
from tests.torture.groups.power.disk import BTRFS, EXT4, XFS, Cut, Disk, FileSystem, disk
from tests.torture.groups.power.mounts import UnavailableError, workplace
from tests.torture.groups.power.shell import Ended, Shell
from tests.torture.groups.power.user import State, Step, User
from tests.torture.plan import Outcome, Plan

_CUTS: Final = 201
"""On each file system."""
_CUTS_PER_STORE: Final = 10
_SHARE_IN_THE_MIDDLE: Final = 0.6
_SHARE_SECOND: Final = 0.3
_FIRST_GUESS_SECONDS: Final = 0.2
_LAST_BREATH_SECONDS: Final = 2.0
"""How long a command may go on with a disk that is gone: what it acknowledges then counts, too."""
_MESSAGE_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class Row:
    """How to cut, the commands until then (None: any), whether the last of them may end, and whether it was killed
    before and is run again: then what it acknowledges may have been made by the first."""

    how: Cut
    verbs: Sequence[str | None]
    in_the_middle: bool
    is_second: bool = False


_SHORT_ROWS: Final = (
    Row(Cut.CACHE_LOST, ("checkpoint", "checkpoint", "remove", "gc", "checkpoint", "checkout"), in_the_middle=False),
    Row(Cut.LOG_LOST, ("pull", "compact", "remove", "pull"), in_the_middle=False),
    Row(Cut.LOG_FLUSHED, ("checkpoint", None), in_the_middle=True),
)


class BrokenPromiseError(Exception):
    """What was promised and did not hold."""


class Bench:
    """A disk, the store that lies on it now, and a user at work there."""

    def __init__(self, directory: Path, disk: Disk, shell: Shell, hub: FakeHub, chance: random.Random) -> None:
        self._disk = disk
        self._shell = shell
        self._chance = chance
        self._user = User(chance, directory / "desk", disk.root / "checkouts", hub)
        self._seconds: dict[str, float] = defaultdict(lambda: _FIRST_GUESS_SECONDS)
        self._stores = 0
        self.begin_anew()

    def begin_anew(self) -> None:
        """From here on a new store, which the next command makes."""
        for left in self._disk.root.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
        self._disk.sync()
        self._stores += 1
        self._store = self._disk.root / f"store-{self._stores}"
        self._state = State()

    def cut(self, row: Row) -> bool:
        """Run the commands, cut, and look; whether a command was running. Raises BrokenPromiseError."""
        *before, last = row.verbs
        typed = []
        try:
            for verb in before:
                step = self._user.step(self._state, verb)
                typed.append(step.verb)
                self._run(step)
            step = self._user.step(self._state, last)
            typed.append(step.verb)
            if row.is_second and step.place is not None:
                typed.append("again")
                self._run_until_killed(step)
            was_running, ended = self._run_until_cut(step, row)
            self._disk.come_back()
            self._judge(step, ended)
        except BrokenPromiseError as error:
            raise BrokenPromiseError(f"{row.how}, after {', '.join(typed)}: {error}") from error
        return was_running

    def _run(self, step: Step) -> None:
        begun = time.monotonic()
        ended = self._shell.run("casmodels", *self._arguments(step))
        self._learn(step, begun)
        self._keep_promise(step, ended)

    def _run_until_killed(self, step: Step) -> None:
        self._shell.start("casmodels", *self._arguments(step))
        if self._shell.wait(self._chance.uniform(0, self._seconds[step.verb])) is None:
            self._shell.kill()

    def _run_until_cut(self, step: Step, row: Row) -> tuple[bool, Ended]:
        """Whether it was running when the disk was cut, and how it ended."""
        self._shell.start("casmodels", *self._arguments(step))
        begun = time.monotonic()
        if row.in_the_middle:
            ended = self._shell.wait(self._chance.uniform(0, 1.1 * self._seconds[step.verb]))
        else:
            ended = self._shell.wait() or self._shell.kill()
        if ended is not None:
            self._learn(step, begun)
            if ended.status != 0:
                raise BrokenPromiseError(_words(step, ended))
        self._disk.cut(row.how, self._chance)
        return ended is None, ended or self._shell.wait(_LAST_BREATH_SECONDS) or self._shell.kill()

    def _judge(self, step: Step, ended: Ended) -> None:
        looked = self._shell.run("look", str(self._store), str(self._disk.root / "checkouts"))
        if looked.status != 0:
            raise BrokenPromiseError(f"what is left is not right: {_last_line(looked.errors)}")
        found = State.of(looked.result)
        if _is_acknowledged(ended):
            _compare(found, step.effect(self._state, _version(ended)))
            self._state = found
            return
        new = found.versions.keys() - self._state.versions.keys()
        version = next(iter(new)).split("@")[1] if step.makes and len(new) == 1 else ""
        ways = [self._state] if step.makes and not new else [self._state, step.effect(self._state, version)]
        _compare_one(found, ways, step.place)
        self._state = replace(found, places=self._state.places)
        if step.place is not None:
            self._run(step)  # what is half there is finished by the same command, unaided

    def _keep_promise(self, step: Step, ended: Ended) -> None:
        if ended.status != 0 or not _is_acknowledged(ended):
            raise BrokenPromiseError(_words(step, ended))
        self._state = step.effect(self._state, _version(ended))

    def _learn(self, step: Step, begun: float) -> None:
        """How long a command takes, so that cuts fall into it."""
        self._seconds[step.verb] = (self._seconds[step.verb] + time.monotonic() - begun) / 2

    def _arguments(self, step: Step) -> list[str]:
        return ["--store", str(self._store), "--json", "-q", *step.arguments]


def run(plan: Plan) -> Iterator[Outcome]:
    """All cuts of mounted file systems; what cannot be mounted here is told."""
    try:
        with workplace() as directory:
            for file_system in (XFS,) if plan.is_short else (XFS, EXT4, BTRFS):
                try:
                    yield from _cut_one(plan, directory / file_system.name, file_system)
                except UnavailableError as error:
                    yield Outcome(f"power cut on {file_system.name}", 0, note=f"not done: {error}")
    except UnavailableError as error:
        yield Outcome("power cut on a mounted file system", 0, note=f"not done: {error}")


def _cut_one(plan: Plan, directory: Path, file_system: FileSystem) -> Iterator[Outcome]:
    (directory / "desk").mkdir(parents=True)
    config = directory / "config.toml"
    config.touch()
    chance = plan.random(f"power {file_system.name}")
    failures: dict[Cut, list[str]] = defaultdict(list)
    times: Counter[Cut] = Counter()
    in_the_middle: Counter[Cut] = Counter()
    with disk(directory, file_system) as made, FakeHub() as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(directory / "hf"), "CASMODELS_CONFIG": str(config)}
        with Shell(directory, environment) as shell:
            bench = Bench(directory, made, shell, hub, chance)
            for number, row in enumerate(_rows(plan, made, chance)):
                try:
                    in_the_middle[row.how] += bench.cut(row)
                except BrokenPromiseError as error:
                    failures[row.how].append(f"{file_system.name}, cut {number}, seed {plan.seed}: {error}")
                    made.come_back()
                    bench.begin_anew()
                times[row.how] += 1
                if number % _CUTS_PER_STORE == _CUTS_PER_STORE - 1:
                    bench.begin_anew()
    for how in made.cuts():
        yield Outcome(
            f"{file_system.name}: {how}",
            times[how],
            tuple(failures[how]),
            f"{in_the_middle[how]} in the middle of a command" + _why_not_more(file_system),
        )


def _rows(plan: Plan, disk: Disk, chance: random.Random) -> Iterator[Row]:
    if plan.is_short:
        yield from _SHORT_ROWS
        return
    ways = disk.cuts()
    for number in range(_CUTS):
        verbs = [None] * (1 + chance.randrange(3))
        yield Row(
            ways[number % len(ways)], verbs, chance.random() < _SHARE_IN_THE_MIDDLE, chance.random() < _SHARE_SECOND
        )


def _why_not_more(file_system: FileSystem) -> str:
    return "" if file_system.has_shutdown else f"; {file_system.name} has no shutdown of its own here"


def _is_acknowledged(ended: Ended) -> bool:
    """It ended well, or told its result before it was cut off."""
    if isinstance(ended.result, list):
        return all(one.get("error") is None for one in ended.result)
    return ended.status == 0 or ended.result is not None


def _version(ended: Ended) -> str:
    document = ended.result[0] if isinstance(ended.result, list) else ended.result
    return str(document.get("version", "")) if isinstance(document, dict) else ""


def _compare(found: State, expected: State) -> None:
    for what in ("files", "tags", "pins", "checked_out"):
        here, wanted = getattr(found, what), getattr(expected, what)
        if here != wanted:
            gone, new = sorted(wanted - here), sorted(here - wanted)
            raise BrokenPromiseError(f"of the {what} {gone} are not as promised, and {new} are there instead")


def _compare_one(found: State, ways: Sequence[State], place: str | None) -> None:
    """It is as before the command or as after it; of a checkout each file by itself."""
    errors = []
    for way in ways:
        places = dict(way.places)
        if place is not None and place in found.places:
            allowed = {item for each in ways for item in each.places.get(place, {}).items()}
            if set(found.places[place].items()) <= allowed:
                places[place] = found.places[place]
        elif place is not None:
            places.pop(place, None)
        try:
            _compare(found, replace(way, places=places))
        except BrokenPromiseError as error:
            errors.append(str(error))
        else:
            return
    raise BrokenPromiseError(f"neither as before the command nor as after it: {errors}")


def _words(step: Step, ended: Ended) -> str:
    return f"{' '.join(step.arguments)} ended with {ended.status}: {_last_line(ended.errors) or ended.output}"


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2][:_MESSAGE_CHARACTERS]
