"""Kills from outside: strace ends the program at its n-th system call of a name, whoever makes it, SQLite included."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TRACED = (
    "?write,?pwrite64,?writev,?pwritev,?copy_file_range,?fsync,?fdatasync,?rename,?renameat,?renameat2,?unlink,?unlinkat,"
    "?ftruncate,?link,?linkat,?symlink,?symlinkat,?mkdir,?mkdirat,?exit_group"
)
"""What changes the disk, and the end; not every processor has all of them."""

_CALL = re.compile(r"(\d+) +(\w+)\(")


@dataclass(frozen=True, slots=True)
class SystemCall:
    """The first time that a thread calls this for the n-th time: strace counts by name and by thread."""

    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.name} {self.number}"


@cache
def why_not() -> str:
    """Why programs cannot be traced here; empty if they can."""
    if shutil.which("strace") is None:
        return "there is no strace here"
    tried = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return f"strace does not work here: {tried.stderr.strip()[:200]}" if tried.returncode else ""


def run(
    command: Sequence[str], environ: Mapping[str, str], directory: Path, kill_at: SystemCall
) -> subprocess.CompletedProcess[str]:
    """The program, killed on its way into that call; its return code is then that of a process killed so."""
    # Not with --seccomp-bpf, under which release 6.1 of strace knows no call but the first.
    inject = ["-e", f"trace={kill_at.name}", "-e", f"inject={kill_at.name}:signal=KILL:when={kill_at.number}"]
    return _strace([*inject, "-o", os.devnull], command, environ, directory)


def calls(command: Sequence[str], environ: Mapping[str, str], directory: Path) -> list[SystemCall]:
    """The calls of a run that is not killed, in order; what a call is for another thread later is not in it."""
    log = directory / "strace.log"
    done = _strace(
        ["--seccomp-bpf", "-e", f"trace={_TRACED}", "-e", "signal=none", "-o", str(log)], command, environ, directory
    )
    assert done.returncode == 0, f"the command failed with {done.returncode}: {done.stderr}"
    counts: Counter[tuple[str, str]] = Counter()
    found: dict[SystemCall, None] = {}
    for line in log.read_text(errors="replace").splitlines():
        if match := _CALL.match(line):
            counts[match[1], match[2]] += 1
            found[SystemCall(match[2], counts[match[1], match[2]])] = None
    log.unlink()
    return list(found)


def _strace(
    options: Sequence[str], command: Sequence[str], environ: Mapping[str, str], directory: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["strace", "-f", "-qq", *options, *command],
        env=environ,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
