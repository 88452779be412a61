"""What each process said before and after everything that it did; a kill leaves the last thing without its end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from casstore.errors import StoreError


class Record:
    """One process's file of lines."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @contextmanager
    def of(self, what: str, **about: str) -> Iterator[dict[str, Any]]:
        """Something is done in the block, and what comes of it is put into the dictionary that it gets."""
        begun = time.monotonic()
        self._write({"begins": what, **about})
        outcome: dict[str, Any] = {"ends": what, **about}
        try:
            yield outcome
        except StoreError as error:
            outcome["error"] = type(error).__name__
            outcome["message"] = str(error)
        outcome["seconds"] = time.monotonic() - begun
        self._write(outcome)

    def fail(self, what: str) -> None:
        """Something did not hold."""
        self._write({"failed": what})

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")


@dataclass
class Told:
    """What all records say together."""

    alive: dict[str, str] = field(default_factory=dict)
    """Versions that were saved and are to be there, ``name@id``, and the token of each."""
    unsure: dict[str, str] = field(default_factory=dict)
    """The same of those that may be there or not: a kill came while they were taken away or brought back."""
    tokens: set[str] = field(default_factory=set)
    """What was begun to be saved."""
    saved: set[str] = field(default_factory=set)
    """What was saved, and told to be."""
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)


def read_records(directory: Path) -> Told:
    """Read them in the order in which the processes began: of one name there was one at a time."""
    told = Told()
    for path in sorted(directory.iterdir()):
        for line in path.read_bytes().split(b"\n"):
            if line:
                _take(told, json.loads(line), path.stem)
    return told


def was_taken_away(directory: Path, target: str) -> bool:
    """Whether somebody has begun to remove that version."""
    needle = json.dumps({"begins": "remove", "target": target})[:-1].encode()
    return any(needle in path.read_bytes() for path in directory.iterdir())


_ALLOWED: dict[str, set[str]] = {
    "save": set(),
    "remove": set(),
    "read": set(),
    "bring back": {"UnknownVersionError", "UnknownModelError", "NotFoundError"},
    "gc": {"BusyError"},
    "compact": {"BusyError"},
}
"""What may be refused, and how; a reader judges by itself."""


def _take(told: Told, line: dict[str, Any], who: str) -> None:
    if "failed" in line:
        told.failures.append(f"{who}: {line['failed']}")
    elif "begins" in line:
        _begin(told, line)
    else:
        _end(told, line, who)


def _begin(told: Told, line: dict[str, Any]) -> None:
    target: str | None = line.get("target")
    if line["begins"] == "save":
        told.tokens.add(line["token"])
    elif target is not None and line["begins"] in ("remove", "bring back"):
        told.alive.pop(target, None)
        told.unsure[target] = line["token"]


def _end(told: Told, line: dict[str, Any], who: str) -> None:
    what, target = line["ends"], str(line.get("target"))
    told.seconds.setdefault(what, []).append(line["seconds"])
    error = line.get("error")
    if error is not None:
        told.refused[what] = told.refused.get(what, 0) + 1
        if error not in _ALLOWED[what]:
            told.failures.append(f"{who}: {what} ended with {error}: {line['message']}")
        if what == "bring back":
            told.unsure.pop(target, None)
        return
    if what == "save":
        told.alive[line["version"]] = line["token"]
        told.saved.add(line["token"])
    elif what == "remove":
        told.unsure.pop(target, None)
    elif what == "bring back":
        told.unsure.pop(target, None)
        told.alive[target] = line["token"]
