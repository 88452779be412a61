"""The processes: each does one kind of thing over and over, by the library or, now and then, by a command."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from casmodels import config
from casmodels.library import Store
from casstore.errors import BusyError, DamagedError, NotFoundError, StoreError
from tests.torture.groups.concurrency.contents import files_of, lay_out, new_token
from tests.torture.groups.concurrency.records import Record, was_taken_away

_BUSY = 5
_MOST_KEPT = 6


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything lies, and how often a command takes the place of a call."""

    work: Path
    command_share: float

    @property
    def store(self) -> Path:
        """The store's directory."""
        return self.work / "store"

    @property
    def records(self) -> Path:
        """The records' directory."""
        return self.work / "records"

    @property
    def environ(self) -> dict[str, str]:
        """What commands see: nothing of the user's own."""
        return {**os.environ, "CASMODELS_CONFIG": str(self.work / "config.toml"), "HF_HOME": str(self.work / "hf")}

    def opened(self) -> Store:
        """The store, as each command opens it."""
        return Store(config=config.load(store=self.store, environ=self.environ))

    def is_over(self) -> bool:
        """Whether everybody is to end."""
        return (self.work / "stop").exists()

    def command(self, *arguments: str) -> bytes:
        """Run a command. Raises NotFoundError and BusyError by its exit code, StoreError for others."""
        command = [sys.executable, "-m", "casmodels", "--store", str(self.store), "-q", *arguments]
        done = subprocess.run(command, env=self.environ, capture_output=True, check=False)
        if done.returncode:
            kind = {3: NotFoundError, _BUSY: BusyError}.get(done.returncode, StoreError)
            raise kind(done.stderr.decode(errors="replace"))
        return done.stdout


def write(place: Place, name: str, record: Record, chance: random.Random) -> None:
    """Save versions under a name of its own, take some away, and bring some of those back by their ids."""
    mine, gone = _left_behind(place, name)
    while not place.is_over():
        kind = chance.random()
        if mine and (kind < 0.4 or len(mine) > _MOST_KEPT):
            target = next(iter(mine))  # the oldest: others are stored against it
            token = mine.pop(target)
            _remove(place, record, chance, target, token)
            gone[target] = token
        elif gone and kind < 0.5:
            target, token = gone.popitem()
            with record.of("bring back", target=target, token=token), place.opened() as store:
                store.tag(target, f"t{time.monotonic_ns()}")
                mine[target] = token
        else:
            token = new_token(chance, f"{name}x{time.monotonic_ns()}")
            version = _save(place, record, chance, name, token)
            if version is not None:
                mine[version] = token


def _left_behind(place: Place, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """The versions of the name that are there: a process that was killed may have left some."""
    with place.opened() as store:
        return {
            f"{name}@{version.version}": version.message for version in store.versions() if version.name == name
        }, {}


def _remove(place: Place, record: Record, chance: random.Random, target: str, token: str) -> None:
    with record.of("remove", target=target, token=token):
        if chance.random() < place.command_share:
            place.command("remove", target)
        else:
            with place.opened() as store:
                store.remove(target)


def _save(place: Place, record: Record, chance: random.Random, name: str, token: str) -> str | None:
    directory = place.work / name
    lay_out(token, directory)
    with record.of("save", token=token) as outcome:
        if chance.random() < place.command_share:
            answer = place.command("--json", "checkpoint", name, str(directory), "-m", token)
            version = json.loads(answer)["version"]
        else:
            with place.opened() as store:
                version = store.checkpoint(name, directory, message=token).version
        outcome["version"] = f"{name}@{version}"
    return outcome.get("version")


def read(place: Place, _name: str, record: Record, chance: random.Random) -> None:
    """Read whole versions, and compare every byte."""
    while not place.is_over():
        with place.opened() as store, record.of("read"):
            versions = store.versions()
            if not versions:
                time.sleep(0.01)
                continue
            version = chance.choice(versions)
            target = f"{version.name}@{version.version}"
            try:
                for path, data in files_of(version.message).items():
                    if _cat(place, store, chance, target, path) != data:
                        record.fail(f"{path} of {target} has other bytes")
            except (NotFoundError, DamagedError) as error:
                if isinstance(error, DamagedError) or not was_taken_away(place.records, target):
                    record.fail(f"{target} cannot be read: {error}")


def _cat(place: Place, store: Store, chance: random.Random, target: str, path: str) -> bytes:
    if chance.random() < place.command_share / 3:
        return place.command("cat", target, path)
    return b"".join(store.cat(target, path))


def collect(place: Place, _name: str, record: Record, chance: random.Random) -> None:
    """gc, again and again."""
    _maintain(place, "gc", record, chance, lambda store: store.gc())


def compact(place: Place, _name: str, record: Record, chance: random.Random) -> None:
    """compact, again and again."""
    _maintain(place, "compact", record, chance, lambda store: store.compact())


def _maintain(place: Place, what: str, record: Record, chance: random.Random, work: Callable[[Store], object]) -> None:
    while not place.is_over():
        with record.of(what):
            if chance.random() < place.command_share:
                place.command(what)
            else:
                with place.opened() as store:
                    work(store)
        time.sleep(chance.uniform(0, 0.1))


Worker = Callable[[Place, str, Record, random.Random], None]

WORKERS: dict[str, Worker] = {
    **{f"writer-{number}": write for number in range(4)},
    **{f"reader-{number}": read for number in range(2)},
    "gc": collect,
    "compact": compact,
}
