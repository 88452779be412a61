"""A reverse proxy that counts: stands between the client and the hub, to see what is really asked for."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


@dataclass
class Request:
    """One request, and how many bytes its answer's body had."""

    method: str
    path: str
    body_bytes: int = 0


@dataclass
class Traffic:
    """The requests seen, in order."""

    requests: list[Request] = field(default_factory=list)

    def clear(self) -> None:
        self.requests.clear()

    @property
    def file_bytes(self) -> int:
        """Bytes of files, as opposed to answers of the API."""
        return sum(seen.body_bytes for seen in self.requests if "/resolve/" in seen.path)


@contextmanager
def counting(upstream: str) -> Iterator[tuple[str, Traffic]]:
    """Serve a proxy of the address `upstream` for the duration of the block: its own address, and what passes."""
    traffic = Traffic()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(upstream, traffic))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", traffic
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(upstream: str, traffic: Traffic) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen = Request(self.command, self.path)
            traffic.requests.append(seen)
            connection = http.client.HTTPConnection(urlsplit(upstream).netloc)
            # With the client's own Host, so that links in the answers lead through here again.
            connection.request(self.command, self.path, headers=dict(self.headers.items()))
            answer = connection.getresponse()
            self.send_response(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            if answer.getheader("Content-Length") is None:
                self.send_header("Connection", "close")
            self.end_headers()
            while block := answer.read(1 << 20):
                seen.body_bytes += len(block)
                self.wfile.write(block)
            connection.close()

        do_HEAD = do_GET  # noqa: N815 (the name that http.server looks for)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    return Handler
