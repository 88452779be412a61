"""Have commands swept by `command_sweep`, a program of its own since it forks."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.scene import ROOT


@dataclass(slots=True)
class Swept:
    """What one way of killing a command came to: how many calls it makes, how many kills there were, and a sentence for
    each time that something did not hold. A kill that comes too late, as threads vary, is checked and not counted."""

    command: str
    way: str
    calls: int
    kills: int = 0
    failures: list[str] = field(default_factory=list)


def sweep(
    work: Path, commands: Sequence[str], environ: Mapping[str, str], *, seam: int = 0, outside: int = 0, seed: str = ""
) -> Iterator[Swept]:
    """Kill each at so many places in either way, in the scene that was prepared there. Raises AssertionError."""
    options = [f"--seam={seam}", f"--outside={outside}", f"--seed={seed}"]
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            [sys.executable, "-m", "tests.crash.command_sweep", str(work), *commands, *options],
            cwd=ROOT,
            env=dict(environ),
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as sweeping,
    ):
        assert sweeping.stdout is not None
        for line in sweeping.stdout:
            yield Swept(**json.loads(line))
        if sweeping.wait():
            complaints.seek(0)
            raise AssertionError(complaints.read()[-3000:])
