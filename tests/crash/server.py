"""A warm process that forks a child for each run: a fresh interpreter for every kill would take all day.

Reads lines of JSON (operation, path, at) and answers each with the child's exit status; -9 is a kill, and a negative
``at`` lets the child live and answers with how many calls the seam saw.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent.parent


class Forker:
    """The other end: starts the process and asks it."""

    def __enter__(self) -> Forker:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.crash.server import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def run(self, operation: str, path: Path, at: int) -> int:
        """Run an operation on a store and kill it before that call; gives the exit status, or the calls' number."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([operation, str(path), at]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def serve() -> None:
    """Answer until the input ends."""
    from casstore import transactions  # noqa: F401 (warm)
    from casstore.codecs import byteplane, zstd  # noqa: F401 (warm)
    from tests.crash import operations  # noqa: F401 (warm)

    for line in sys.stdin:
        operation, path, at = json.loads(line)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _run(operation, Path(path), at, writing)
        os.close(writing)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with os.fdopen(reading) as counted:
            text = counted.read()
        sys.stdout.write(f"{text or status}\n")
        sys.stdout.flush()


def _run(operation: str, path: Path, at: int, writing: int) -> None:
    from casstore import files
    from casstore.testing.faults import Killing
    from tests.crash.operations import OPERATIONS

    status = 1
    try:
        killing = Killing(at)
        files.set_hook(killing)
        OPERATIONS[operation].run(path, lambda _what: None)
        if at < 0:
            os.write(writing, str(killing.seen).encode())
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)
