"""Kill commands at many of their changes of the disk, and check what is left each time.

Run as a program, so that it forks from a process that has no threads:

    python -m tests.crash.command_sweep WORK COMMAND... [--seam N] [--outside N] [--seed SEED]

WORK holds a scene (`scene.prepared`). N times it is laid out anew, and a command run in it is killed (SIGKILL): through
the seam, right before its n-th write, fsync, rename, unlink, truncate or commit; from outside, at its n-th system call
of a name. After each kill: everything that was finished is there to the byte; then, in either order, the same command
works unaided, and one gc takes back what leaked; and everything is there again. Where the scene is damaged, what does
not suffer is there throughout, and all is there once it was healed. Prints what `sweeping.Swept` says, a line of JSON
for each way of each command.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random

from casmodels.cli import process
from casmodels.cli.exits import Exit
from casstore import files
from tests.crash import outside
from tests.crash.command_checks import check, check_collected, check_done
from tests.crash.points import Window, choose
from tests.crash.scene import COMMANDS, Expected, lay_out
from tests.crash.sweeping import Swept

_REASON_BYTES = 4000
"""What a pipe takes that nobody reads yet."""

_GLOBAL = ("--json", "-q")
_WARM = (
    "casmodels.cli.program",
    *(
        f"casmodels.cli.{module}"
        for module in ("bars", "care", "pulling", "quantising", "saving", "signing", "versions", "views")
    ),
    *(
        f"casmodels.library.{module}"
        for module in (
            "deriving",
            "inventory",
            "pulling_hub",
            "pulling_lists",
            "removal",
            "restoring",
            "saving",
            "shelving",
            "signing",
            "upkeep",
        )
    ),
    *(
        f"casmodels.{module}"
        for module in (
            "downloads.transfer",
            "formats.find",
            "quantising.stored",
            "runtime.memory",
            "sources.hub_client",
        )
    ),
    *(
        f"casstore.{module}"
        for module in (
            "bases",
            "chunkers.opaque",
            "codecs.against",
            "codecs.byteplane",
            "codecs.cast",
            "maintenance.compact",
            "needs",
        )
    ),
    *(f"casstore.codecs.delta.{module}" for module in ("decoding", "encoding")),
    *(
        "charset_normalizer",
        "huggingface_hub.hf_api",
        "model_signing.signing",
        "psutil",
        "pydantic.type_adapter",
        "pyfastcdc",
        "requests",
        "tomllib",
    ),
    *("numpy.ma", "onnxruntime.quantization", "zstandard"),
)
"""What would be imported after each fork else."""


_Step = tuple[str, Callable[[], object]]


class Sweep:
    """The kills of one command in one scene."""

    def __init__(self, work: Path, command: str, seed: str, covered: set[Window]) -> None:
        self._work = work
        self._covered = covered
        self._command = command
        self._row = COMMANDS[command]
        self._arguments = [*_GLOBAL, *self._row.arguments]
        self._scene = work / "scene"
        self._expected = Expected.load(work, self._row.template)
        self._random = Random(f"{seed} {command}")

    def through_the_seam(self, wanted: int) -> Swept:
        """Kill before so many calls of the seam."""
        lay_out(self._work, self._row.template)
        log = self._work / "calls"
        self._must_work(partial(self._counted, log))
        calls = [line.replace(str(self._scene), "") for line in log.read_text().splitlines()]
        log.unlink()
        swept = Swept(self._command, "through the seam", len(calls))
        for place in choose(calls, wanted, self._random, self._covered):
            lay_out(self._work, self._row.template)
            status, reason = in_child(partial(self._run, _Killer(place)))
            swept.kills += status == -signal.SIGKILL
            label = f"{self._command} killed before call {place} of the seam, {calls[place - 1]}"
            swept.failures += self._wrong(label, status, reason, self._said())
        return swept

    def from_outside(self, wanted: int) -> Swept:
        """Kill at so many system calls of the program."""
        program = [sys.executable, "-m", "casmodels", *self._arguments]
        environ = {**os.environ, "CASMODELS_HOME": str(self._scene / "store")}
        lay_out(self._work, self._row.template)
        calls = outside.calls(program, environ, self._scene)
        swept = Swept(self._command, "from outside", len(calls))
        for place in choose([call.name for call in calls], wanted, self._random, self._covered):
            lay_out(self._work, self._row.template)
            call = calls[place - 1]
            done = outside.run(program, environ, self._scene, call)
            swept.kills += done.returncode == -signal.SIGKILL
            label = f"{self._command} killed from outside at {call}"
            swept.failures += self._wrong(label, done.returncode, done.stderr, done.stdout)
        return swept

    def _wrong(self, label: str, status: int, reason: str, said: str) -> list[str]:
        """What does not hold, if anything, after the command has ended so."""
        if status not in (0, -signal.SIGKILL):
            return [f"{label}: it ended with {status}: {reason}"]
        healed = self._expected.healed
        now = healed if self._row.heals and said else self._expected
        then = healed if self._row.heals else self._expected
        next_steps: list[_Step] = [("the same command again", self._again), ("gc", self._collect)]
        steps: list[_Step] = [
            ("what is there", partial(check, self._work, now, self._command, said)),
            *self._random.sample(next_steps, 2),
            ("what is there at the end", partial(self._check_the_end, then)),
        ]
        if then.hurt:
            steps += [
                ("healing", self._heal),
                ("what is there when all is healed", partial(self._check_the_end, healed)),
            ]
        for what, step in steps:
            status, reason = in_child(step)
            if status:
                return [f"{label}; afterwards {what}: {reason}"]
        return []

    def _collect(self) -> None:
        self._run(None, [*_GLOBAL, "gc"])
        check_collected(self._work)

    def _heal(self) -> None:
        self._run(None, [*_GLOBAL, *COMMANDS["heal"].arguments])

    def _check_the_end(self, expected: Expected) -> None:
        check(self._work, expected, self._command, "")
        check_done(self._work, expected, self._command)

    def _must_work(self, work: Callable[[], object]) -> None:
        """A run that is not killed. Raises AssertionError."""
        status, reason = in_child(work)
        assert status == 0, f"{self._command} failed with {status}: {reason}"
        wrong = self._wrong(f"{self._command} not killed", status, reason, self._said())
        assert not wrong, wrong[0]

    def _run(self, hook: files.Hook | None, arguments: Sequence[str] | None = None) -> None:
        """Run a command line in this process, which ends with it."""
        files.set_hook(hook)
        os.chdir(self._scene)
        sys.stdout = (self._work / "said").open("w")
        sys.stderr = (self._work / "complained").open("w")
        status = process.run(["--store", "store", *(self._arguments if arguments is None else arguments)])
        if status:
            sys.stderr.flush()
            raise CommandError(status, (self._work / "complained").read_text().strip())

    def _counted(self, log: Path) -> None:
        """Run the command, and note each call of the seam."""
        calls: list[str] = []
        self._run(lambda operation, path: calls.append(f"{operation} {path}"))
        log.write_text("\n".join(calls))

    def _again(self) -> None:
        """The command a second time. A `remove` that was killed may have removed it all the same; then it says so."""
        try:
            self._run(None)
        except CommandError as error:
            if self._command != "remove" or error.status != Exit.NOT_FOUND:
                raise

    def _said(self) -> str:
        return (self._work / "said").read_text()


class CommandError(Exception):
    """A command did not end well."""

    def __init__(self, status: int, complaint: str) -> None:
        super().__init__(f"exit status {status}: {complaint}")
        self.status = status


class _Killer:
    """A hook that ends the process before its n-th call."""

    def __init__(self, place: int) -> None:
        self._left = place

    def __call__(self, _operation: str, _path: str) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], object]) -> tuple[int, str]:
    """Run in a fork; gives the exit status, or minus the signal, and what was raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
            os.write(writing, told.encode("utf-8", "replace")[:_REASON_BYTES])
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, errors="replace") as pipe:
        reason = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), reason


def main() -> None:
    """Sweep, and print what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("commands", nargs="+", choices=sorted(COMMANDS))
    parser.add_argument("--seam", type=int, default=0)
    parser.add_argument("--outside", type=int, default=0)
    parser.add_argument("--seed", default="")
    options = parser.parse_args()
    for module in _WARM:
        importlib.import_module(module)
    covered: dict[str, set[Window]] = defaultdict(set)  # for each template, as damage may be met in any window
    for command in options.commands:
        sweep = Sweep(options.work, command, options.seed, covered[COMMANDS[command].template])
        for way, wanted in ((sweep.through_the_seam, options.seam), (sweep.from_outside, options.outside)):
            if wanted:
                sys.stdout.write(json.dumps(asdict(way(wanted))) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
