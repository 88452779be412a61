"""Stores to serve, a server in a thread, and a client that sends paths as they are."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from casmodels.serve.app import build
from casstore.digests import Digest
from casstore.frames import FrameKind
from casstore.packs import pack_path
from casstore.refs import RefKey, RefKind
from casstore.store import Store
from casstore.trees import Entry, Tree
from casstore.versions import Version

NOON_NS = 1_700_000_000_000_000_000


def put(
    store: Store,
    name: str,
    files: Mapping[str, bytes],
    *,
    links: Mapping[str, str] | None = None,
    empty: tuple[str, ...] = (),
    executable: tuple[str, ...] = (),
    message: str = "",
    metadata: dict[str, Any] | None = None,
    created_ns: int = NOON_NS,
    tag: str | None = None,
    source: str = "file:///somebody/s/model",
) -> Version:
    """Make a version of a name."""
    with store.writing() as tx:
        entries = [Entry.link(path, target) for path, target in (links or {}).items()]
        entries += [Entry.directory(path) for path in empty]
        for path, content in files.items():
            info = tx.add_bytes(content, path).info
            entries.append(Entry.file(path, info.sha256, info.size_bytes, 0o755 if path in executable else 0o644))
        tree = tx.add_tree(Tree.of(entries))
        version = Version(tree, None, source, created_ns, message, metadata or {})
        tx.add_version(version)
        tx.set_ref(RefKey(RefKind.VERSION, name, version.id.hex), version.id)
        if tag is not None:
            tx.set_ref(RefKey(RefKind.TAG, name, tag), version.id)
        tx.commit()
    return version


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str | None]:
        """The status and the Hub's error code; there must be a message as well."""
        assert self.headers["X-Error-Message"], self.headers
        return self.status, self.headers["X-Error-Code"]


@dataclass(frozen=True)
class Hub:
    """A server to ask. ``requests`` are those answered so far, as ``GET /path``; ``ranges`` the ranges asked for."""

    url: str
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Reply:
        """Send a request with this very path; ``Range="…"``, ``If_Range="…"`` become headers."""
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()


@contextmanager
def serving(app: web.Application) -> Iterator[Hub]:
    """Run an application in a thread of its own."""
    requests: list[str] = []
    ranges: list[str] = []

    async def note(request: web.Request, _response: web.StreamResponse) -> None:
        requests.append(f"{request.method} {request.raw_path}")
        ranges.extend(request.headers.getall("Range", []))

    app.on_response_prepare.append(note)
    started, loop = threading.Event(), asyncio.new_event_loop()
    ports: list[int] = []
    ended = asyncio.Event()

    async def work() -> None:
        runner = web.AppRunner(app, shutdown_timeout=1, max_line_size=16 * 1024)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ports.append(runner.addresses[0][1])
        started.set()
        await ended.wait()
        await runner.cleanup()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as running:
            running.run(work())

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(20)
    try:
        yield Hub(f"http://127.0.0.1:{ports[0]}", requests, ranges)
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(20)
        assert not thread.is_alive()


@contextmanager
def hub(store: Store, **options: Any) -> Iterator[Hub]:
    """Serve a store."""
    with serving(build(store, **options)) as running:
        yield running


def damage(store: Store, blob: Digest, chunk: int) -> None:
    """Flip one byte of a blob's chunk of that number, in its pack."""
    with store.reading() as reader:
        info = reader.find_blob(blob)
        assert info is not None
        part = reader.recipe(info.recipe).parts[chunk]
    _flip(store, FrameKind.CHUNK, part.chunk)


def damage_record(store: Store, kind: FrameKind, digest: Digest) -> None:
    """Flip one byte of a tree's or a version's record, in its pack."""
    _flip(store, kind, digest.value)


def _flip(store: Store, kind: FrameKind, digest: bytes) -> None:
    row = store.engine.ledger.rows.frame(kind, digest)
    assert row is not None
    path = pack_path(store.layout.packs, row.pack)
    content = bytearray(path.read_bytes())
    content[row.offset + row.length - 1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something that the server does in its own time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
