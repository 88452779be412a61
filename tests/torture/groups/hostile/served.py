"""The server: any path, any header and any bytes; no token, or a wrong one; guests that are slow, silent or many."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from casstore.store import Store
from casstore.testing.builders import noise, put
from tests.torture.groups.hostile.guests import (
    FIRST_SECONDS,
    IDLE_SECONDS,
    MOST_CONNECTIONS,
    STALL_SECONDS,
    HangError,
    Served,
    read_all,
    request,
    serving,
    status_of,
)
from tests.torture.groups.hostile.outside import SECRET
from tests.torture.plan import Outcome, Plan

TOKEN: Final = "a-token-that-nobody-knows"
_FILES: Final = {"a": b"x" * 100, "d/b": noise(5, 3000), "weights.bin": noise(6, 200_000), "é \udcff%2e": b"strange"}
_WIDE: Final = {f"{number:04}-{'w' * 240}": b"wide" for number in range(1000)}
_MARGIN_SECONDS: Final = 20.0


def run(plan: Plan) -> Iterator[Outcome]:
    """Two servers over one store, one with a token."""
    root = plan.work / "served"
    root.mkdir()
    (root / "secret").write_bytes(SECRET)
    with Store.open(root / "store", create=True) as store:
        put(store, "m", _FILES)
        put(store, "org/m", {"config.json": b"{}"})
        put(store, "wide", _WIDE)
    with serving(root / "store", TOKEN) as served:
        yield _without_token(served, plan.random("tokens"), 4 if plan.is_short else 200)
    with serving(root / "store") as served:
        yield _requests(served, plan.random("requests"), 500 if plan.is_short else 25_000, root)
        yield _slow_guests(served)
        yield _many_guests(served)
        yield _too_much(served)
        yield Outcome("the server afterwards", 1, tuple(_aftermath(served, root)))


_ROUTES: Final = [
    *("/", "/api/models", "/api/models/m", "/api/models/m/revision/main", "/api/models/m/tree/main", "/nowhere"),
    *("/api/models/m/refs", "/api/models/m/commits/main", "/api/models/m/paths-info/main", "/m/resolve/main/a"),
    *(
        "/api/models/org/m/refs",
        "/api/datasets",
        "/api/whoami-v2",
        "/org/m/resolve/main/config.json",
        "//",
        "/healthz/",
    ),
    *("/healthz?x", "/%68ealthz", "/m/resolve/main/../../healthz", "http://127.0.0.1/healthz", "/healthz#", "*"),
]


def _without_token(served: Served, chance: random.Random, wrong: int) -> Outcome:
    """Every route, with no token, and with some that are nearly right."""
    given = [b"", b"Bearer", b"Bearer ", TOKEN.encode(), f"Basic {TOKEN}".encode(), f"bearer {TOKEN}".encode()]
    given += [f"Bearer {TOKEN}x".encode(), f"Bearer {TOKEN[:-1]}".encode(), f"Bearer {TOKEN}, Bearer x".encode()]
    for _ in range(wrong):
        cut = chance.randrange(len(TOKEN))
        given.append(f"Bearer {TOKEN[:cut]}{chance.choice('abcx-~')}{TOKEN[cut + 1 :]}".encode())
    given = [one for one in given if one != f"Bearer {TOKEN}".encode()]
    failures, count = [], 0
    for route in _ROUTES:
        for method in ("GET", "HEAD", "POST", "PUT"):
            for one in [None, *(given if method == "GET" else chance.sample(given, 2))]:
                count += 1
                headers = [b"Authorization: " + one] if one is not None else []
                try:
                    answer = served.ask(request(method, route.encode(), *headers))
                except HangError:
                    answer = b""
                # 400 and 404 come from the parser, before anything of the store was asked.
                if status_of(answer) not in (401, 400, 404) or any(content in answer for content in _FILES.values()):
                    failures.append(f"{method} {route} with {one!r} was answered {answer[:60]!r}")
    right = served.ask(request("GET", b"/m/resolve/main/a", f"Authorization: Bearer {TOKEN}".encode()))
    if not right.endswith(_FILES["a"]):
        failures.append("with the right token, a file is not given")
    return Outcome("requests without the token, or with a wrong one", count, (*failures, *served.complaints()))


_WORDS: Final = [
    *(b"..", b".", b"", b"%2e%2e", b"%252e%252e", b"..%2f", b"..%2F..%2F..%2Fsecret", b"%2e%2e%2fsecret", b"secret"),
    *(
        b"%00",
        b"%0d%0a",
        b"%",
        b"%zz",
        b"%c0%ae%c0%ae",
        b"%e0%80%ae",
        b"..%5c",
        b"\\..\\",
        b"%ff",
        b"\xff",
        b"\xc3\xa9",
    ),
    *(b"api", b"models", b"datasets", b"m", b"org", b"wide", b"resolve", b"main", b"tree", b"revision", b"refs", b"a"),
    *(b"commits", b"paths-info", b"d", b"b", b"weights.bin", b"etc", b"passwd", b"~", b";", b"?", b"#", b"a" * 300),
    *(b"?recursive=1", b"?cursor=%00", b"?limit=0", b"?limit=99999999999", b"&expand=1", b"?cursor=AAAA", b"file:"),
]
_VALUES: Final = [
    *(
        b"",
        b"bytes=0-",
        b"bytes=-1",
        b"bytes=5-2",
        b"bytes=0-0,5-9",
        b"bytes=" + b"9" * 400 + b"-",
        b"bytes=1-" + b"9" * 18,
    ),
    *(b"bytes=--", b"items=0-1", b"*", b'W/"x"', b'"', b"\xff\xfe", b"9" * 5000, b"chunked", b"gzip", b"100-continue"),
    *(b"websocket", b"Upgrade, HTTP2-Settings", b"127.0.0.1", b"evil.example", b"[::1", b"javascript:", b"x" * 7000),
]
_NAMES: Final = [
    *(b"Range", b"If-Range", b"If-None-Match", b"If-Modified-Since", b"Host", b"Authorization", b"X-Forwarded-Proto"),
    *(b"Content-Length", b"Transfer-Encoding", b"Content-Encoding", b"Expect", b"Upgrade", b"Connection", b"Cookie"),
    *(b"Accept-Encoding", b"Content-Type", b"X", b"", b" X", b"X Y"),
]
_METHODS: Final = [
    "GET",
    "GET",
    "GET",
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PRI",
    "X" * 50,
]


def _requests(served: Served, chance: random.Random, count: int, root: Path) -> Outcome:
    """Requests made of words that go wrong, some with bytes changed: no failure, no hang, nothing from outside."""
    failures = []
    here = os.fsencode(root)
    for number in range(count):
        sent = _request(chance)
        try:
            answer = served.ask(sent, may_be_half=True)
        except HangError:
            failures.append(f"request {number}, {sent!r:.300}, hung")
            continue
        status = status_of(answer)
        if answer and status is None:
            failures.append(f"request {number}, {sent!r:.300}, was answered {answer[:80]!r}")
        elif status is not None and status >= 500 and not _fails_in_aiohttp(sent):
            failures.append(f"request {number}, {sent!r:.300}, was answered {status}")
        if SECRET in answer or b"root:" in answer or here in answer:
            failures.append(f"request {number}, {sent!r:.300}, gave something from outside")
    return Outcome("requests at random over raw sockets", count, (*failures, *served.complaints()))


def _fails_in_aiohttp(sent: bytes) -> bool:
    """A target without a path, and an Expect header that is no text: that fails before it comes to the product."""
    path = sent.split(b" ")[1:2]
    return b"Expect" in sent and (sent.startswith(b"CONNECT") or not path or b"/" not in path[0])


def _request(chance: random.Random) -> bytes:
    start = chance.choice(
        (b"/", b"/", b"/m/resolve/main/", b"/api/models/m/", b"/api/models/", b"//", b"http://127.0.0.1/", b"")
    )
    target = start + b"/".join(chance.choices(_WORDS, k=chance.randint(0, 5)))
    headers = [chance.choice(_NAMES) + b": " + chance.choice(_VALUES) for _ in range(chance.choice((0, 0, 1, 1, 2, 3)))]
    sent = request(chance.choice(_METHODS), target.replace(b" ", b"%20"), *headers)
    if chance.random() < 0.2:
        sent += chance.choice(
            (b"paths=a&paths=d", b"paths[]=" + b"%2e" * 90, chance.randbytes(50), b"5\r\nabcde\r\n0\r\n\r\n")
        )
    if chance.random() < 0.15:
        changed = bytearray(sent)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(changed))
            changed[place : place + chance.randint(0, 2)] = chance.choice(
                (b"", b"\0", b"\r\n", b"\n", chance.randbytes(2))
            )
        sent = bytes(changed)
    return sent


def _slow_guests(served: Served) -> Outcome:
    """A byte at a time, before the first request and after it; and a guest who takes nothing of what comes."""
    failures = []
    for what, before, patience in (
        ("a first request a byte at a time", b"", FIRST_SECONDS),
        ("a second request a byte at a time", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", IDLE_SECONDS),
    ):
        with served.connect() as guest:
            guest.sendall(before)
            seconds = _drip(guest, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 1000)
        if seconds > patience + _MARGIN_SECONDS:
            failures.append(f"{what} was borne for {seconds:.1f} s")
    wanted = request("GET", b"/api/models/wide/tree/main?expand=1").replace(b"Connection: close\r\n", b"")
    with served.connect() as guest:
        guest.sendall(wanted * 60)
        time.sleep(STALL_SECONDS + 1.5)
        try:
            taken = read_all(guest)
            if taken.count(b"HTTP/1.1 200") >= 60:
                failures.append("a guest who took nothing for long was waited for")
        except HangError:
            failures.append("a guest who took nothing for long was not hung up on")
    return Outcome("guests that send a byte at a time or take nothing", 3, (*failures, *served.complaints()))


def _drip(guest: socket.socket, text: bytes) -> float:
    """Send a byte at a time; gives the seconds until the server hung up."""
    began = time.monotonic()
    guest.settimeout(0.1)
    for place in range(len(text)):
        try:
            guest.sendall(text[place : place + 1])
            while guest.recv(65536):
                continue
            break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return time.monotonic() - began


def _many_guests(served: Served) -> Outcome:
    """More connections than there may be, silent from the start or after one request: a new guest is served still."""
    failures = []
    once = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    crowds = {"silent": _crowd, "idle": partial(_crowd, first=once), "silent, sudden": _burst}
    for what, come in crowds.items():
        answers = 0
        with contextlib.ExitStack() as stack:
            come(served, stack)
            for _ in range(10):
                with contextlib.suppress(HangError):
                    answers += status_of(served.ask(request("GET", b"/m/resolve/main/a"))) == 200
        if answers < 10:
            failures.append(f"beside {2 * MOST_CONNECTIONS} {what} connections only {answers} of 10 were answered")
    count = len(crowds) * 2 * MOST_CONNECTIONS
    return Outcome("connections that hold on and ask nothing", count, (*failures, *served.complaints()))


def _crowd(served: Served, stack: contextlib.ExitStack, first: bytes = b"") -> None:
    """Twice as many as may be, each of which asks once at most."""
    for _ in range(2 * MOST_CONNECTIONS):
        guest = stack.enter_context(served.connect())
        guest.sendall(first)
        if first:
            with contextlib.suppress(ConnectionError):
                guest.recv(65536)


def _burst(served: Served, stack: contextlib.ExitStack) -> None:
    """As many as may be, and as many again while the server is stopped, so that it finds them all at once."""
    for _ in range(MOST_CONNECTIONS):
        stack.enter_context(served.connect())
    served.ask(request("GET", b"/healthz"))
    served.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(MOST_CONNECTIONS):
            stack.enter_context(served.connect())
    finally:
        served.process.send_signal(signal.SIGCONT)


def _too_much(served: Served) -> Outcome:
    """Heads and forms beyond any measure: refused, without being taken in."""
    head = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    form = b"POST /api/models/m/paths-info/main HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    cases = {
        "very many headers": head + b"X: y\r\n" * 100_000,
        "a very long header": head + b"X: " + b"y" * (4 << 20),
        "a very long path": b"GET /" + b"a" * (4 << 20),
        "a very long form": form + b"Content-Length: 99999999\r\n\r\n" + b"paths=" + b"a" * (8 << 20),
        "a form in very many chunks": form + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * (6 << 20),
        "very many fields": form + b"Content-Length: 2000000\r\n\r\n" + b"a&" * 1_000_000,
    }
    failures = []
    for what, sent in cases.items():
        try:
            status = status_of(served.ask(sent))
            if status is not None and (status < 400 or status >= 500):
                failures.append(f"{what} was answered {status}")
        except HangError:
            failures.append(f"{what} hung")
    return Outcome("heads and forms beyond any measure", len(cases), (*failures, *served.complaints()))


def _aftermath(served: Served, root: Path) -> Iterator[str]:
    """Whether an ordinary guest is served as if nothing had been, and nothing was made beside the store."""
    for path, content in _FILES.items():
        target = b"/m/resolve/main/" + b"".join(b"%%%02x" % byte for byte in os.fsencode(path))
        if not served.ask(request("GET", target)).endswith(b"\r\n\r\n" + content):
            yield f"{path!r} is not given any more"
    made = {entry.name for entry in root.iterdir()} - {"secret", "store", "log", "log-token"}
    if made:
        yield f"{sorted(made)} was made"
