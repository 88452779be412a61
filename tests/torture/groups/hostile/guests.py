"""A server in a process of its own, with little patience, and raw connections to it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FIRST_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 1.5
STALL_SECONDS: Final = 1.0
MOST_CONNECTIONS: Final = 60
_LONGEST_SECONDS: Final = 30.0
_SOON_SECONDS: Final = 0.3
_PROGRAM: Final = f"""
import sys
from pathlib import Path
from casmodels.serve import guests, server
guests.FIRST_SECONDS = {FIRST_SECONDS}
guests.IDLE_SECONDS = {IDLE_SECONDS}
guests.MAX_CONNECTIONS = {MOST_CONNECTIONS}
server.END_SECONDS = 0.3
from casmodels.serve.app import build
from casmodels.serve.limits import Limits
from casstore.store import Store
with Store.open(Path(sys.argv[1])) as store:
    app = build(store, None, sys.argv[2] or None, Limits(stall_seconds={STALL_SECONDS}, form_seconds=1.0))
    server.serve_app(app, "127.0.0.1", 0, lambda url: print(url, flush=True))
"""


class HangError(Exception):
    """The server neither answered nor hung up."""


@dataclass(frozen=True)
class Served:
    """A running server; ``log`` is the file of what it says."""

    port: int
    process: subprocess.Popen[str]
    log: Path

    def connect(self) -> socket.socket:
        """A new connection that takes little at a time."""
        guest = socket.socket()
        guest.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        guest.settimeout(_LONGEST_SECONDS)
        guest.connect(("127.0.0.1", self.port))
        return guest

    def ask(self, request: bytes, *, may_be_half: bool = False) -> bytes:
        """Send bytes, and read until the server hangs up; what may be half a request ends when no answer comes soon.

        Raises HangError.
        """
        with self.connect() as guest:
            with contextlib.suppress(ConnectionError):
                try:
                    guest.sendall(request)
                except TimeoutError as error:
                    raise HangError from error
                if may_be_half and not select.select([guest], [], [], _SOON_SECONDS)[0]:
                    guest.shutdown(socket.SHUT_WR)
            return read_all(guest)

    def complaints(self) -> list[str]:
        """What must not be in its log, and whether it has ended."""
        failures = self.log.read_text(errors="replace").split("Traceback")[1:]
        found = [f"the server's log says {said!r:.1000}" for said in failures]
        return found + (["the server ended"] if self.process.poll() is not None else [])


@contextlib.contextmanager
def serving(store: Path, token: str = "") -> Iterator[Served]:
    """Serve a store, with little patience."""
    command = [sys.executable, "-c", _PROGRAM, str(store), token]
    with running(command, store.with_name(f"log{'-token' if token else ''}")) as served:
        yield served


@contextlib.contextmanager
def running(command: list[str], log: Path, **environ: str) -> Iterator[Served]:
    """A server's process, from the first line that it prints on, which ends in its URL, until the block ends."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **environ}
        )
        try:
            assert process.stdout is not None
            yield Served(int(process.stdout.readline().rpartition(":")[2]), process, log)
        finally:
            process.terminate()
            process.communicate(timeout=20)


def read_all(guest: socket.socket, longest_seconds: float = _LONGEST_SECONDS) -> bytes:
    """What comes until the other end hangs up. Raises HangError."""
    parts = []
    deadline = time.monotonic() + longest_seconds
    with contextlib.suppress(ConnectionError):
        try:
            while part := guest.recv(1 << 16):
                parts.append(part)
                if time.monotonic() > deadline:
                    raise HangError
        except TimeoutError as error:
            raise HangError from error
    return b"".join(parts)


def request(method: str, target: bytes, *headers: bytes) -> bytes:
    """A request for one answer."""
    lines = [method.encode("latin-1") + b" " + target + b" HTTP/1.1", b"Host: 127.0.0.1", b"Connection: close"]
    return b"\r\n".join([*lines, *headers]) + b"\r\n\r\n"


def status_of(answer: bytes) -> int | None:
    """The status of an answer, None where there is none."""
    match = re.match(rb"HTTP/\d\.\d (\d{3}) ", answer)
    return int(match[1]) if match is not None else None
