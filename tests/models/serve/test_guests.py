"""Who may come in, and how much of the server one guest can take."""

from __future__ import annotations

import contextlib
import random
import socket
import time

import pytest

from casmodels.serve.limits import Limits
from casstore.leases import open_leases
from casstore.store import Store
from tests.models.serve.shelf import Hub, hub, put, wait_until

WEIGHTS = random.Random(2).randbytes(20_000_000)


def test_with_a_token_nobody_comes_in_without(store: Store) -> None:
    put(store, "m", {"a": b"x"})
    with hub(store, token="sécret") as served:
        for path in ("/", "/api/models", "/api/models/m", "/m/resolve/main/a", "/nowhere", "/healthz/x"):
            reply = served.ask(path)
            assert reply.error == (401, "Unauthorized")
            assert "HF_TOKEN" in reply.headers["X-Error-Message"]
        for wrong in ("Bearer secret", "Bearer ", "sécret", "bearer sécret"):
            reply = served.ask("/api/models/m", Authorization=wrong.encode().decode("latin-1"))
            assert reply.error == (401, "Unauthorized")
            assert reply.headers["X-Error-Message"] == "Invalid credentials in Authorization header"
        right = "Bearer sécret".encode().decode("latin-1")
        assert served.ask("/m/resolve/main/a", Authorization=right).body == b"x"
        assert served.ask("/m/resolve/main/a", "HEAD", Authorization=right, Host="hub.example").status == 200
        assert served.ask("/healthz").body == b"ok\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:80", "localhost:8080", "[::1]:80", "[::1]", "a.localhost."])
def test_a_loopback_name_is_let_in_without_a_token(store: Store, served: Hub, host: str) -> None:
    assert served.ask("/api/models", Host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "192.168.1.2", "127.0.0.1.evil.example", ""])
def test_another_name_is_not(store: Store, served: Hub, host: str) -> None:
    assert served.ask("/api/models", Host=host).error == (421, "MisdirectedRequest")


def test_a_form_may_be_large_but_not_endless(store: Store, served: Hub) -> None:
    put(store, "m", {"a": b"x"})
    path = "/api/models/m/paths-info/main"
    form = b"&".join(b"paths=some/long/path/to/a/file-%05d" % number for number in range(50_000)) + b"&paths=a"
    assert [entry["path"] for entry in served.ask(path, "POST", form).json] == ["a"]
    assert served.ask(path, "POST", b"paths=" + b"x" * 5_000_000).error[0] == 413


def test_a_very_long_path_is_found_or_refused(store: Store, served: Hub) -> None:
    name = "\udcff" * 4000
    put(store, "m", {name: b"x"})
    assert served.ask("/m/resolve/main/" + "%FF" * 4000).body == b"x"
    assert served.ask("/m/resolve/main/" + "%FF" * 8000).status == 400


def test_slow_guests_hold_little_and_hinder_nobody(store: Store, served: Hub) -> None:
    put(store, "m", {"w.bin": WEIGHTS, "a": b"x"})
    import psutil

    before = psutil.Process().memory_info().rss
    guests = [ask_and_wait(served, "/m/resolve/main/w.bin") for _ in range(60)]
    begun = time.monotonic()
    assert served.ask("/m/resolve/main/a").body == b"x"
    assert served.ask("/m/resolve/main/w.bin").body == WEIGHTS
    assert time.monotonic() - begun < 8
    # Sixty whole files would be 1200 MB.
    assert psutil.Process().memory_info().rss - before < 400_000_000
    for guest in guests:
        guest.close()
    wait_until(lambda: open_leases(store.layout.leases) == [])


def test_a_guest_who_takes_nothing_is_let_go(store: Store) -> None:
    put(store, "m", {"w.bin": WEIGHTS})
    with hub(store, limits=Limits(stall_seconds=0.5)) as served:
        guest = ask_and_wait(served, "/m/resolve/main/w.bin")
        wait_until(lambda: open_leases(store.layout.leases) != [])
        wait_until(lambda: open_leases(store.layout.leases) == [])
        guest.close()


def test_there_are_only_so_many_downloads_at_once(store: Store) -> None:
    put(store, "m", {"w.bin": WEIGHTS})
    with hub(store, limits=Limits(bodies=1, turn_seconds=0.1)) as served:
        with ask_and_wait(served, "/m/resolve/main/w.bin"):
            assert served.ask("/m/resolve/main/w.bin").error == (429, "TooManyRequests")
            assert served.ask("/m/resolve/main/w.bin", "HEAD").status == 200
        wait_until(lambda: served.ask("/m/resolve/main/w.bin").status == 200)


def test_a_form_that_does_not_arrive_is_not_waited_for(store: Store) -> None:
    put(store, "m", {"a": b"x"})
    with (
        hub(store, limits=Limits(form_seconds=0.2)) as served,
        socket.create_connection(served.address, timeout=20) as guest,
    ):
        guest.sendall(b"POST /api/models/m/paths-info/main HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\np")
        assert guest.recv(12) == b"HTTP/1.1 408"


@pytest.mark.parametrize(
    "form",
    [
        b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nno gzip!!",
        b"Content-Encoding: deflate\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_a_form_that_is_not_what_its_headers_say_is_refused(store: Store, served: Hub, form: bytes) -> None:
    put(store, "m", {"a": b"x"})
    with socket.create_connection(served.address, timeout=20) as guest:
        guest.sendall(b"POST /api/models/m/paths-info/main HTTP/1.1\r\nHost: 127.0.0.1\r\n" + form)
        assert guest.recv(12)[-3:] == b"400"


def test_a_guest_who_goes_away_lets_go(store: Store, served: Hub) -> None:
    put(store, "m", {"w.bin": WEIGHTS})
    guest = ask_and_wait(served, "/m/resolve/main/w.bin")
    wait_until(lambda: open_leases(store.layout.leases) != [])
    guest.close()
    wait_until(lambda: open_leases(store.layout.leases) == [])


def test_a_cut_body_is_shorter_than_announced(store: Store) -> None:
    put(store, "m", {"w.bin": WEIGHTS})
    with (
        hub(store, limits=Limits(stall_seconds=0.2)) as served,
        ask_and_wait(served, "/m/resolve/main/w.bin", 65536) as guest,
    ):
        wait_until(lambda: open_leases(store.layout.leases) == [])
        received = 0
        while part := guest.recv(1 << 20):
            received += len(part)
        assert received < len(WEIGHTS)


def ask_and_wait(served: Hub, path: str, buffer_bytes: int = 4096) -> socket.socket:
    """Ask for a file and take no more than the beginning of the answer."""
    guest = socket.create_connection(served.address, timeout=20)
    guest.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    guest.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert guest.recv(12) == b"HTTP/1.1 200"
    return guest


def test_a_guest_who_takes_no_listing_is_let_go(store: Store) -> None:
    put(store, "m", {f"{number:04}-{'w' * 240}": b"x" for number in range(1000)})
    with (
        hub(store, limits=Limits(stall_seconds=0.3)) as served,
        socket.create_connection(served.address, timeout=20) as guest,
    ):
        guest.sendall(b"GET /api/models/m/tree/main HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 60)
        time.sleep(1.5)
        taken = bytearray()
        with contextlib.suppress(ConnectionError):
            while part := guest.recv(1 << 20):
                taken += part
    assert taken.count(b"HTTP/1.1 200") < 60


def test_a_repository_of_a_name_that_is_no_text_is_not_there(store: Store, served: Hub) -> None:
    for path in ("/api/models/%e0%80%ae", "/%ff/resolve/main/a", "/api/models/org/%ff%fe/refs"):
        assert served.ask(path).error == (404, "RepoNotFound")


@pytest.mark.parametrize("expected", [b"\xff\xfe", b"100-continue", b"tea"])
def test_whatever_is_expected_is_answered(store: Store, served: Hub, expected: bytes) -> None:
    put(store, "m", {"a": b"x"})
    head = b"Host: 127.0.0.1\r\nConnection: close\r\nExpect: " + expected + b"\r\nContent-Length: 7\r\n\r\n"
    with socket.create_connection(served.address, timeout=20) as guest:
        guest.sendall(b"POST /api/models/m/paths-info/main HTTP/1.1\r\n" + head + b"paths=a")
        answer = b"".join(iter(lambda: guest.recv(65536), b""))
    assert answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").startswith(b"HTTP/1.1 200 OK")
