"""Runs a whole command and says what it cost: wall time, CPU time and peak memory of its process tree. Linux only."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Usage:
    """What one command used. CPU is user and system time of the whole tree; memory is the sum of its resident sets
    at the moment when that was largest, by samples every 20 ms, or one process's own high-water mark if that is more
    (`ru_maxrss` would not do: it starts from the size of the process that forked)."""

    wall_seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    output: str = ""


class CommandError(Exception):
    """A measured command failed."""


def measure(script: str, environment: Mapping[str, str], directory: Path | None = None) -> Usage:
    """Run `script` with bash, failing on any failed part of it. Raises CommandError with the command's own words."""
    started = time.perf_counter()
    process = subprocess.Popen(
        ["bash", "-c", f"set -euo pipefail\n{script}"],
        env=dict(environment),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    sampler = _MemorySampler(process.pid)
    sampler.start()
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = sampler.stop()
    process.stdout.close()
    if process.returncode != 0:
        raise CommandError(f"exit {process.returncode}: {script}\n{output[-2000:]}")
    return Usage(wall, usage.ru_utime + usage.ru_stime, peak, output)


class _MemorySampler(threading.Thread):
    def __init__(self, root_pid: int) -> None:
        super().__init__(daemon=True)
        self._root_pid = root_pid
        self._done = threading.Event()
        self._peak_bytes = 0

    def run(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            sizes = [_resident_bytes(pid) for pid in _tree(self._root_pid)]
            self._peak_bytes = max(self._peak_bytes, sum(now for now, _ in sizes), *(most for _, most in sizes))

    def stop(self) -> int:
        """End the sampling; the peak in bytes."""
        self._done.set()
        self.join()
        return self._peak_bytes


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return  # it ended while we looked
    for child in " ".join(lists).split():
        yield from _tree(int(child))


def _resident_bytes(pid: int) -> tuple[int, int]:
    """The resident set now, and the largest that it has been since the program started."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(status["VmRSS"].split()[0]) * 1024, int(status["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):
        return 0, 0  # it has ended
