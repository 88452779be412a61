"""How much a CPU-bound neighbour loses while models are pulled at low priority. Prints JSON; Linux only.

    python -m benchmarks.bench_priority                                   # casmodels pull, of files made on the spot
    python -m benchmarks.bench_priority --builtin                         # two threads of this bench that never wait
    python -m benchmarks.bench_priority --command 'casmodels pull gpt2 --force'

Each loaded window stands between two in which the neighbour is alone, and is compared with their mean, so that a
machine that changes its pace meanwhile does no harm. A second figure, without low-priority mode, shows that the
measurement would see a loss.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from statistics import median

from benchmarks.results import Figure, Results

ROOT = Path(__file__).resolve().parent.parent
REACH = 0.05
SETTLE_SECONDS = 1.0
TENSOR_ELEMENTS = 1 << 22
AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")

NEIGHBOUR = """
import sys, time, zlib
data, units, end = bytes(range(256)) * 64, 0, time.perf_counter() + float(sys.argv[1])
while time.perf_counter() < end:
    for _ in range(20):
        zlib.crc32(data), sum(range(300))
    units += 20
print(units)
"""
"""A program that keeps a core busy, half in the interpreter and half in C, and says how far it came."""

BUSY = """
import hashlib, os, sys, threading
from casmodels.runtime.priority import lower_current_thread
def work():
    if sys.argv[1] == "low":
        assert lower_current_thread().cpu
    data = os.urandom(1 << 20) * 8
    while True:
        hashlib.sha256(data).digest()
threads = [threading.Thread(target=work) for _ in range(int(sys.argv[2]))]
for thread in threads:
    thread.start()
"""


@dataclass(frozen=True)
class Options:
    """What to measure, and how long."""

    rounds: int
    seconds: float
    neighbours: int
    other_session: bool
    low: str
    normal: str | None


@dataclass(frozen=True)
class Round:
    """The neighbours' units of work per window: alone, under the load, alone again; and what was lost to the load."""

    before: float
    during: float
    after: float

    @property
    def loss(self) -> float:
        return 1 - 2 * self.during / (self.before + self.after)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", help="the load, run with sh again and again (default: casmodels pull)")
    parser.add_argument("--builtin", action="store_true", help="the load is two threads of this bench")
    parser.add_argument("--rounds", type=int, default=9, help="medians over so many are reported (default 9)")
    parser.add_argument("--seconds", type=float, default=5.0, help="the length of a window (default 5)")
    parser.add_argument("--neighbours", type=int, default=1, help="how many CPU-bound neighbours (default 1)")
    parser.add_argument("--other-session", action="store_true", help="the load runs in a session of its own")
    parser.add_argument("--program", type=Path, default=Path(".venv/bin/casmodels"), help="casmodels to measure")
    parser.add_argument("--quick", action="store_true", help="one short round: checks the bench itself")
    given = parser.parse_args(arguments)
    os.chdir(ROOT)
    with made_files(1 if given.quick else 32) as files:
        low, normal = loads(given, files)
        options = Options(
            rounds=1 if given.quick else given.rounds,
            seconds=1.0 if given.quick else given.seconds,
            neighbours=given.neighbours,
            other_session=given.other_session,
            low=low,
            normal=normal,
        )
        results = compare(options)
    is_standard = not (given.quick or given.command or given.builtin or given.other_session)
    path = results.write(ROOT / ("benchmarks/results" if is_standard else ".bench/quick-results"))
    print(path.read_text(), end="")
    return 0


def loads(given: argparse.Namespace, files: Path) -> tuple[str, str | None]:
    """The shell commands with and, if there is one, without low-priority mode."""
    if given.command:
        return given.command, None
    if given.builtin:
        command = f"exec {quote(sys.executable)} -c {quote(BUSY)}"
        return f"{command} low {os.cpu_count()}", f"{command} normal {os.cpu_count()}"
    store = quote(str(files.parent / "store"))
    pull = f"rm -rf {store}; {quote(str(given.program))} --store {store} --quiet pull {quote(str(files))} --name made"
    return f"{pull} --low-priority", f"{pull} --no-low-priority"


@contextlib.contextmanager
def made_files(count: int) -> Iterator[Path]:
    """A directory of safetensors files of 32 MiB each, of floats as weights have them."""
    import numpy as np

    from benchmarks.quick import safetensors_bytes

    work = Path(".bench/work/priority")
    shutil.rmtree(work, ignore_errors=True)
    files = work / "files"
    files.mkdir(parents=True)
    random = np.random.default_rng(1)
    try:
        for number in range(count):
            tensors = [random.standard_normal(TENSOR_ELEMENTS, dtype=np.float32) * np.float32(0.04) for _ in range(2)]
            (files / f"model-{number:03}.safetensors").write_bytes(safetensors_bytes("F32", tensors))
        yield files
    finally:
        shutil.rmtree(work, ignore_errors=True)


def compare(options: Options) -> Results:
    """Measure with and without low-priority mode in turns."""
    autogroup = AUTOGROUP.read_text().strip() if AUTOGROUP.exists() else "absent"
    results = Results("priority", {**asdict(options), "autogroup": autogroup})
    modes = {"low priority": options.low, "normal priority": options.normal}
    commands = {mode: command for mode, command in modes.items() if command is not None}
    rounds: dict[str, list[Round]] = {mode: [] for mode in commands}
    for _ in range(options.rounds):
        for mode, command in commands.items():
            rounds[mode].append(measure(options, command))
    for mode, measured in rounds.items():
        results.measurements += [{"mode": mode, **asdict(one), "loss": round(one.loss, 4)} for one in measured]
        reach = REACH if mode == "low priority" else None
        name = f"loss of a CPU-bound neighbour, {mode}"
        results.figures.append(Figure(name, median(one.loss for one in measured), reach))
    return results


def measure(options: Options, command: str) -> Round:
    before = neighbours(options)
    with running(command, options.other_session):
        time.sleep(SETTLE_SECONDS)
        during = neighbours(options)
    return Round(before, during, neighbours(options))


def neighbours(options: Options) -> float:
    """What the neighbours do in a window, in their units."""
    command = [sys.executable, "-c", NEIGHBOUR, str(options.seconds)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(options.neighbours)]
    return float(sum(int(process.communicate()[0]) for process in running))


@contextlib.contextmanager
def running(command: str, other_session: bool) -> Iterator[None]:
    """The load, begun anew whenever it ends, for the duration of the block.

    By default it shares the session of the neighbours, as two commands of one terminal do: where the kernel groups
    tasks by session, priorities count only within one.
    """
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            ["sh", "-c", f"while ( {command} ); do :; done"],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=other_session,
            process_group=None if other_session else 0,
        )
        try:
            yield
            if process.poll() is not None:
                said.seek(0)
                raise RuntimeError(f"the load failed: {said.read()[-2000:]}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    raise SystemExit(main())
