"""The other end of the forker: runs commands with faults, judges how they ended, and has checked what they left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.torture.groups.faults.commands import COMMANDS, put_back

_ROOT = Path(__file__).resolve().parents[4]
_LIMIT_SECONDS = 60.0
_MESSAGE_BYTES = 4096
_OTHERS = {".out>": 1, "/config.toml": 2, "/hf-home/": 2}
"""Parts of the paths of files that have nothing to do with the store, and the exit code where they fail."""
_CALL = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\(")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit status (None where it hung), its two streams, and the calls that were traced."""

    status: int | None
    out: str
    err: str
    trace: str = ""

    @property
    def injected(self) -> list[str]:
        """The calls that failed on purpose, each with the paths of its descriptors."""
        return [line for line in self.trace.splitlines() if line.endswith("(INJECTED)")]

    @property
    def counted(self) -> tuple[list[tuple[str, str]], int]:
        """The calls of the seam, operation and path, and how many writes there were; of `Driver.learn`."""
        calls, writes = json.loads(self.out.splitlines()[-1])
        return [(operation, path) for operation, path in calls], writes

    def calls(self) -> dict[str, int]:
        """How many calls of each name the thread made that made the most."""
        counts = Counter(
            (found["thread"], found["name"]) for found in map(_CALL.match, self.trace.splitlines()) if found
        )
        most: dict[str, int] = {}
        for (_, name), number in counts.items():
            most[name] = max(most.get(name, 0), number)
        return most


@dataclass(frozen=True, slots=True)
class Tracing:
    """What strace is told: the calls to show, and what to do to one of them (``name:error=ENOSPC:when=3``)."""

    calls: tuple[str, ...]
    inject: str | None = None

    @property
    def options(self) -> list[str]:
        """Its options."""
        inject = ["-e", f"inject={self.inject}"] if self.inject is not None else []
        return ["-f", "-q", "-y", "-e", f"trace={','.join(self.calls)}", *inject]


@dataclass
class Driver:
    """Runs commands in a scene: ``scene`` is put back from ``template`` before each."""

    scene: Path
    template: Path
    environ: Mapping[str, str]
    _process: subprocess.Popen[bytes] = field(init=False)
    _link: socket.socket = field(init=False)

    def __enter__(self) -> Driver:
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.groups.faults.forker", str(theirs.fileno())],
                cwd=_ROOT,
                env=dict(self.environ),
                pass_fds=[theirs.fileno()],
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.close()
        self._process.wait()

    def learn(self, command: str) -> Ended:
        """Run a command once, so that all it imports is there; what it does to the disk is in `Ended.counted`."""
        put_back(self.scene, self.template)
        ended = self.run(command, action="count", learn=True)
        if ended.status != 0:
            raise RuntimeError(f"{command} fails without a fault: {ended.err}")
        return ended

    def fault(self, command: str, fault: Mapping[str, Any], tracing: Tracing | None = None) -> Ended:
        """Put the scene back and run a command with a fault."""
        put_back(self.scene, self.template)
        return self.run(command, fault=fault, tracing=tracing)

    def check(self, command: str, ended: Ended, **more: Any) -> str | None:
        """What does not hold after a command that has ended so."""
        checked = self.run(command, action="check", succeeded=ended.status == 0, **more)
        if checked.status == 0:
            return None
        return f"afterwards: {_last_line(checked.err)}" if checked.status is not None else "afterwards it hangs"

    def run(self, command: str, *, tracing: Tracing | None = None, **request: Any) -> Ended:
        """One run in a child."""
        files = [self.scene.with_name(f"{self.scene.name}.{name}") for name in ("out", "err", "trace")]
        out, err, trace = files
        trace.unlink(missing_ok=True)
        message = {
            "action": "run",
            "scene": str(self.scene),
            "command": command,
            "traced": tracing is not None,
            **request,
        }
        with out.open("wb") as to_out, err.open("wb") as to_err:
            socket.send_fds(self._link, [json.dumps(message).encode()], [to_out.fileno(), to_err.fileno()])
        child = int(self._link.recv(_MESSAGE_BYTES))
        with _traced(child, tracing, trace):
            if tracing is not None:
                self._link.send(b"!")
            status = self._wait(child)
        return Ended(
            status,
            out.read_text(errors="replace"),
            err.read_text(errors="replace"),
            trace.read_text(errors="replace") if trace.exists() else "",
        )

    def _wait(self, child: int) -> int | None:
        self._link.settimeout(_LIMIT_SECONDS)
        try:
            return int(self._link.recv(_MESSAGE_BYTES))
        except TimeoutError:
            os.kill(child, signal.SIGKILL)
            self._link.settimeout(None)
            self._link.recv(_MESSAGE_BYTES)
            return None
        finally:
            self._link.settimeout(None)


@contextlib.contextmanager
def _traced(child: int, tracing: Tracing | None, trace: Path) -> Iterator[None]:
    if tracing is None:
        yield
        return
    strace = subprocess.Popen(
        ["strace", *tracing.options, "-o", str(trace), "-p", str(child)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    status = Path(f"/proc/{child}/status")
    while "TracerPid:\t0\n" in status.read_text() and strace.poll() is None:
        time.sleep(0.001)
    yield
    strace.wait()


def can_trace() -> bool:
    """Whether strace is there and may be used."""
    try:
        return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def verdict(command: str, ended: Ended, allowed: frozenset[int]) -> str | None:
    """What is wrong with how a command ended whose exit code may be 0 or one of those."""
    if ended.status is None:
        return f"hangs for {_LIMIT_SECONDS:.0f} s"
    if "Traceback" in ended.err:
        return f"shows a traceback: {_last_line(ended.err)}"
    if any(call for call in ended.injected if ".err>" in call):
        return None  # there was nobody to tell
    for part, code in _OTHERS.items():
        if any(part in call for call in ended.injected):
            allowed = allowed | {code}
    said = ended.err.splitlines()
    if ended.status == 0:
        return f"succeeds and says {said[0]}" if said else None
    if ended.status not in allowed | COMMANDS[command].again:
        return f"ends with {ended.status}: {_last_line(ended.err)}"
    if len(said) != 1 or not said[0].startswith("error: "):
        return f"says {len(said)} lines instead of one: {ended.err!r}"
    return None


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "nothing was said")
