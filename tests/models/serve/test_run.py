"""`run`: a process that listens, says so, and ends in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from casmodels.serve import guests
from casmodels.serve.app import run
from casstore.errors import InvalidInputError
from casstore.leases import open_leases
from casstore.store import Store
from tests.models.serve.shelf import Hub, put, wait_until

PROGRAM = """
import sys
from pathlib import Path
from casmodels.serve.app import run
from casmodels.serve import server
from casstore.store import Store
server.END_SECONDS = 0.3
with Store.open(Path(sys.argv[1])) as store:
    run(store, sys.argv[2], int(sys.argv[3]), None, lambda line: print(line, flush=True))
print("ended", flush=True)
"""


@contextlib.contextmanager
def running(store: Store, host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-c", PROGRAM, str(store.path), host, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_ends_when_told(store: Store, number: signal.Signals) -> None:
    put(store, "m", {"a": b"x"})
    with running(store) as (process, line):
        words, _, url = line.rpartition(" ")
        assert words == f"serving {store.path} on"
        assert Hub(url).ask("/m/resolve/main/a").body == b"x"
        process.send_signal(number)
        assert process.communicate(timeout=20) == ("ended\n", "")
        assert process.returncode == 0
    assert open_leases(store.layout.leases) == []


def test_a_guest_who_speaks_no_http_makes_no_noise(store: Store) -> None:
    with running(store) as (process, line):
        with socket.create_connection(Hub(line.rpartition(" ")[2]).address) as guest:
            guest.sendall(b"GET / HTTP/1.1\r\nno header\r\n\r\n")
            assert b" 400 " in guest.recv(100)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("ended\n", "")


def test_what_aiohttp_fails_on_is_one_sentence_in_the_log(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def ready(line: str) -> None:
        threading.Thread(target=confuse, args=(Hub(line.rpartition(" ")[2]),)).start()

    def confuse(hub: Hub) -> None:
        with socket.create_connection(hub.address) as guest:
            guest.sendall(b"CONNECT xn-- HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert hub.ask("/healthz").status == 200
        assert hub.ask("/healthz").status == 200
        gc.collect()
        signal.raise_signal(signal.SIGINT)

    run(store, "127.0.0.1", 0, None, ready)
    (said,) = [record for record in caplog.records if "idna" in record.getMessage()]
    assert (said.levelno, said.exc_info) == (logging.INFO, None)
    assert said.getMessage().startswith("Task exception was never retrieved: ")
    assert [record for record in caplog.records if record.exc_info or record.levelno > logging.INFO] == []


def test_a_guest_who_holds_on_does_not_hold_up_the_end(store: Store) -> None:
    put(store, "m", {"w.bin": bytes(range(256)) * 100_000})
    with running(store) as (process, line):
        with socket.create_connection(Hub(line.rpartition(" ")[2]).address) as guest:
            guest.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            guest.sendall(b"GET /m/resolve/main/w.bin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert guest.recv(12) == b"HTTP/1.1 200"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        assert (out, err) == ("ended\n", "")
    wait_until(lambda: open_leases(store.layout.leases) == [])


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_need_a_token(store: Store, host: str) -> None:
    with pytest.raises(InvalidInputError, match="token") as refused:
        run(store, host, 0, None, print)
    assert "--token" in (refused.value.remedy or "")


@pytest.mark.parametrize("token", ["", " ", "a b", "a\n"])
def test_a_token_that_no_header_can_carry_is_refused(store: Store, token: str) -> None:
    with pytest.raises(InvalidInputError, match="token"):
        run(store, "127.0.0.1", 0, token, print)


def test_an_address_that_cannot_be_had_is_named(store: Store) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInputError, match=f"cannot listen on 127.0.0.1 port {port}"):
            run(store, "127.0.0.1", port, None, print)
    with pytest.raises(InvalidInputError, match="no address"):
        run(store, "nowhere.invalid", 0, None, print)
    with pytest.raises(InvalidInputError, match="port 99999"):
        run(store, "localhost", 99999, None, print)


def test_a_connection_that_asks_nothing_is_closed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "FIRST_SECONDS", 0.2)
    answers: list[bytes] = []

    def ready(line: str) -> None:
        threading.Thread(target=talk, args=(Hub(line.rpartition(" ")[2]),)).start()

    def talk(hub: Hub) -> None:
        with socket.create_connection(hub.address, timeout=20) as silent, socket.create_connection(hub.address) as slow:
            slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            answers.extend([silent.recv(100), slow.recv(100)])
        answers.append(hub.ask("/healthz").body)
        signal.raise_signal(signal.SIGINT)

    run(store, "127.0.0.1", 0, None, ready)
    assert answers == [b"", b"", b"ok\n"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """Without aiohttp every module of the server says which extra to install."""
    program = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "from casmodels.errors import MissingExtraError\n"
        "try:\n    import casmodels.serve.app\n"
        "except MissingExtraError as error:\n    print(error.remedy)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "run `pip install 'casmodels[serve]'`\n"


def test_silent_connections_keep_nobody_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "MAX_CONNECTIONS", 5)
    answers: list[int] = []

    def ready(line: str) -> None:
        threading.Thread(target=crowd, args=(Hub(line.rpartition(" ")[2]),)).start()

    def crowd(hub: Hub) -> None:
        with contextlib.ExitStack() as stack:
            for number in range(20):
                guest = stack.enter_context(socket.create_connection(hub.address, timeout=20))
                if number % 2:
                    guest.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                    guest.recv(1000)
            answers.extend(hub.ask("/healthz").status for _ in range(5))
        signal.raise_signal(signal.SIGINT)

    run(store, "127.0.0.1", 0, None, ready)
    assert answers == [200] * 5


def test_a_burst_of_silent_connections_keeps_nobody_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guests, "MAX_CONNECTIONS", 5)
    answers: list[int] = []

    def ready(line: str) -> None:
        hub = Hub(line.rpartition(" ")[2])
        loop = asyncio.get_running_loop()
        threading.Thread(target=crowd, args=(hub, loop)).start()

    def crowd(hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.ExitStack() as stack:

            def burst(count: int) -> None:
                """In the loop's own thread, so that it finds them all at once."""
                for _ in range(count):
                    stack.enter_context(socket.create_connection(hub.address, timeout=20))

            for count in (5, 20, 20):
                loop.call_soon_threadsafe(burst, count)
                answers.extend(hub.ask("/healthz").status for _ in range(2))
        signal.raise_signal(signal.SIGINT)

    run(store, "127.0.0.1", 0, None, ready)
    assert answers == [200] * 6
