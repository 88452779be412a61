"""Runs casmodels' commands one by one, each in a process of its own, so that one can be cut off in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

_ROOT: Final = Path(__file__).resolve().parents[4]
_LIMIT_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended, and what it printed."""

    status: int
    output: str
    errors: str

    @property
    def result(self) -> Any:
        """The JSON that it printed; None where it printed none, or an error."""
        with contextlib.suppress(ValueError):
            document = json.loads(self.output)
            if not (isinstance(document, dict) and "error" in document):
                return document
        return None


class Shell:
    """This end. ``directory`` is for what is printed."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._output, self._errors = directory / "output", directory / "errors"
        self._environment = {**os.environ, **environment}
        self._pid = 0
        self._rest = b""

    def __enter__(self) -> Shell:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.groups.power.children", self._output, self._errors],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_ROOT,
            env=self._environment,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def start(self, method: str, *arguments: str) -> None:
        """Begin; returns when the process has been made."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, *arguments]).encode() + b"\n")
        self._process.stdin.flush()
        pid = self._line(_LIMIT_SECONDS)
        assert pid is not None
        self._pid = pid

    def wait(self, seconds: float = _LIMIT_SECONDS) -> Ended | None:
        """How it ended; None when it has not by then."""
        status = self._line(seconds)
        if status is None:
            return None
        return Ended(status, self._output.read_text(), self._errors.read_text())

    def kill(self) -> Ended:
        """End it now, and wait until it has ended."""
        os.kill(self._pid, signal.SIGKILL)
        ended = self.wait()
        if ended is None:
            raise RuntimeError("a process that was killed does not end")
        return ended

    def run(self, method: str, *arguments: str) -> Ended:
        """Do it, and wait for the end, up to two minutes."""
        self.start(method, *arguments)
        return self.wait() or self.kill()

    def _line(self, seconds: float) -> int | None:
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._rest:
            if not select.select([self._process.stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
                return None
            more = os.read(self._process.stdout.fileno(), 4096)
            if not more:
                raise RuntimeError("the program that runs the commands has ended")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return int(line)
