"""A server that answers with whatever bytes it is told to, however many, and counts what was taken."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, TypeAlias

MOST_BYTES: Final = 300 << 20
"""What an answer without end ends after all the same; who has taken that much would take anything."""

Answer: TypeAlias = Callable[[str], Iterable[bytes]]
"""From the path of a request, query and all, to the bytes of its answer, status line and all."""


class AnyServer:
    """Listens on loopback; a context manager. Each connection gets one answer."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _: [b""]
        self.sent_bytes = 0
        self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def __enter__(self) -> AnyServer:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def become(self, answer: Answer) -> None:
        """Answer so from now on, counting from nothing."""
        self.answer, self.sent_bytes, self.requests = answer, 0, 0

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                guest, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(guest,), daemon=True).start()

    def _serve(self, guest: socket.socket) -> None:
        with contextlib.suppress(OSError), guest:
            guest.settimeout(20)
            asked = b""
            while b"\r\n\r\n" not in asked and (part := guest.recv(65536)):
                asked += part
            self.requests += 1
            for block in self.answer(asked.split(b" ")[1].decode("latin-1")):
                guest.sendall(block)
                self.sent_bytes += len(block)
                if self.sent_bytes > MOST_BYTES:
                    return


def answer_of(body: bytes, status: str = "200 OK", **headers: str) -> list[bytes]:
    """An answer whose length is as its header says; ``Content_Type="…"`` becomes a header."""
    named = {"Content-Length": str(len(body)), "Connection": "close"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return [f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1"), body]
