"""A terminal in a directory of its own: prints each command as a user would type it, and runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER_START_SECONDS = 60.0
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


class StepFailedError(Exception):
    """A command of the demo failed; what it said is on the terminal already."""


class Terminal:
    """Runs bash commands in `directory`, with the programs of this virtual environment first on the path."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        home = directory / "home"
        home.mkdir(parents=True)
        # The user's own settings, tokens and models take no part.
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM", "COLUMNS", "TMPDIR") if name in os.environ}
        root = Path(__file__).resolve().parent.parent
        programs = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
        self._environment = kept | {
            "PATH": programs,
            "HOME": str(home),
            "PYTHONPATH": str(root),
            # Measured on busy machines: NumPy's threads wait for each other ten times longer than they compute.
            "OPENBLAS_NUM_THREADS": "1",
        }

    def say(self, text: str) -> None:
        print(f"\n{BOLD}{text}{PLAIN}", flush=True)

    def export(self, name: str, value: str) -> None:
        """Set a variable for all commands that follow."""
        print(f"$ export {name}={value.replace(str(self.directory), '$PWD')}", flush=True)
        self._environment[name] = value

    def type(self, *lines: str) -> None:
        """Run the lines in one shell. Raises StepFailedError."""
        for line in lines:
            print(f"$ {line}", flush=True)
        started = time.monotonic()
        done = subprocess.run(self._bash("\n".join(lines)), cwd=self.directory, env=self._environment, check=False)
        if done.returncode != 0:
            raise StepFailedError(f"exit code {done.returncode}: {lines[-1]}")
        print(f"{DIM}  ({time.monotonic() - started:.1f} s){PLAIN}", flush=True)

    def read(self, line: str) -> str:
        """What a command prints, without showing it. Raises StepFailedError."""
        done = subprocess.run(
            self._bash(line), cwd=self.directory, env=self._environment, check=False, stdout=subprocess.PIPE, text=True
        )
        if done.returncode != 0:
            raise StepFailedError(f"exit code {done.returncode}: {line}")
        return done.stdout

    @contextmanager
    def serving(self, command: str) -> Iterator[str]:
        """Run a server in the background for the duration of the block; gives the address that it printed."""
        print(f"$ {command} &", flush=True)
        log = self.directory / "serve.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield self._address(process, log)
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _address(self, process: subprocess.Popen[bytes], log: Path) -> str:
        deadline = time.monotonic() + SERVER_START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if found := re.search(r"http://[\w.]+:\d+", log.read_text(errors="replace")):
                return found.group()
            time.sleep(0.05)
        raise StepFailedError(f"the server did not start: {log.read_text(errors='replace')[-1000:]}")

    def _bash(self, script: str) -> list[str]:
        return ["bash", "-c", f"set -euo pipefail\n{script}"]
