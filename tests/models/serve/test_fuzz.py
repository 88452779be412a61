"""Whatever is asked: an answer of the Hub's form, no failure of the server, nothing from outside the store."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from casstore.store import Store
from tests.models.serve.shelf import Hub, hub, put

SECRET = b"a file outside the store"
WORDS = [
    *("", ".", "..", "%2e%2e", "%2F", "%00", "%", "%zz", "%FF", "api", "models", "datasets", "m", "org", "resolve"),
    *("main", "tree", "revision", "refs", "commits", "paths-info", "a", "d", "link", "etc", "passwd", "secret.txt"),
    *("..%2F..%2Fsecret.txt", "%0a", "?", "?cursor=", "?limit=9", "&expand=true", "#", "\\", "..\\..", "é", "~", ";"),
]
paths = st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=9).map(lambda parts: "/" + "/".join(parts))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, str]]:
    directory = tmp_path_factory.mktemp("fuzz")
    (directory / "secret.txt").write_bytes(SECRET)
    with Store.open(directory / "store", create=True) as store:
        put(store, "m", {"a": b"x", "d/a": b"y"}, links={"link": "d"})
        put(store, "org/m", {"a": b"x"})
        with hub(store) as served:
            yield served, str(directory)


def ask_raw(served: Hub, method: str, target: bytes, *headers: bytes) -> bytes:
    """Send these very bytes; gives the whole answer."""
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: 127.0.0.1", b"Connection: close", *headers]
    with socket.create_connection(served.address, timeout=20) as guest:
        guest.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        parts = []
        while part := guest.recv(65536):
            parts.append(part)
    return b"".join(parts)


@settings(max_examples=400)
@given(paths, st.sampled_from(["GET", "HEAD", "POST", "OPTIONS"]))
@example("/m/resolve/main/../../../secret.txt", "GET")
@example("/m/resolve/main/..%2F..%2F..%2Fsecret.txt", "GET")
@example("//etc/passwd", "GET")
@example("/m/resolve/main/%2Fetc%2Fpasswd", "GET")
def test_any_path(place: tuple[Hub, str], path: str, method: str) -> None:
    served, directory = place
    target = "".join(sign for sign in path if sign not in " \r\n\t\0").encode("utf-8", "surrogatepass")
    answer = ask_raw(served, method, target)
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head[9:12])
    assert status < 500
    assert SECRET not in body
    assert directory.encode() not in answer
    if status >= 400 and b"application/json" in head:
        assert b"X-Error-Code: " in head
        assert b"X-Error-Message: " in head


@settings(max_examples=100)
@given(
    st.binary(max_size=40).map(lambda raw: bytes(set(raw) and (byte for byte in raw if byte not in b"\r\n\0"))),
    st.sampled_from([b"Range", b"If-Range", b"If-None-Match", b"Host", b"Authorization", b"X-Forwarded-Proto"]),
)
def test_any_header(place: tuple[Hub, str], value: bytes, name: bytes) -> None:
    served, _ = place
    answer = ask_raw(served, "GET", b"/m/resolve/main/a", name + b": " + value)
    assert int(answer[9:12]) < 500


@settings(max_examples=100)
@given(st.binary(max_size=200) | st.text(alphabet="paths=&expand%F[]é", max_size=60).map(str.encode))
def test_any_form(place: tuple[Hub, str], form: bytes) -> None:
    served, _ = place
    reply = served.ask("/api/models/m/paths-info/main", "POST", form)
    assert reply.status == 200


@pytest.mark.parametrize("target", [b"*", b"http://127.0.0.1/api/models/m", b"http://x/m/resolve/main/a", b"m"])
def test_targets_of_other_forms(place: tuple[Hub, str], target: bytes) -> None:
    served, _ = place
    assert int(ask_raw(served, "GET", target)[9:12]) < 500


def test_nothing_lies_beside_the_store(place: tuple[Hub, str]) -> None:
    """What the fuzzing asked for has left no file."""
    assert sorted(entry.name for entry in Path(place[1]).iterdir()) == ["secret.txt", "store"]
