"""`resolve`: bytes, ranges and the headers around them."""

from __future__ import annotations

import random

import pytest

from casmodels.serve.limits import Limits
from casmodels.specs import commit_of
from casstore.digests import git_blob_digest, sha256_digest
from casstore.store import Store
from tests.models.serve.shelf import Hub, hub, put

WEIGHTS = random.Random(0).randbytes(3_000_000)
ODD_NAMES = ["a b", "a#b?c", "a%20b", "é/ü", "new\nline", "no\udcffutf8", 'quo"te\\', "..a", "x;filename=y", "日本"]


@pytest.fixture
def model(store: Store) -> str:
    return commit_of(put(store, "org/m", {"w.bin": WEIGHTS, "t.txt": b"text", "empty": b""}))


def test_a_large_file(model: str, served: Hub) -> None:
    head = served.ask("/org/m/resolve/main/w.bin", "HEAD")
    whole = served.ask("/org/m/resolve/main/w.bin")
    etag = f'"{sha256_digest(WEIGHTS).hex}"'
    for reply in (head, whole):
        assert reply.status == 200
        assert (reply.headers["ETag"], reply.headers["X-Linked-ETag"]) == (etag, etag)
        assert reply.headers["X-Repo-Commit"] == model
        assert reply.headers["Content-Length"] == "3000000"
        assert reply.headers["Accept-Ranges"] == "bytes"
        assert reply.headers["Content-Type"] == "application/octet-stream"
    assert head.headers["X-Linked-Size"] == "3000000"
    assert (head.body, whole.body) == (b"", WEIGHTS)


def test_a_small_file(model: str, served: Hub) -> None:
    head = served.ask("/org/m/resolve/main/t.txt", "HEAD")
    assert head.headers["ETag"] == f'"{git_blob_digest(b"text").hex}"'
    assert "X-Linked-ETag" not in head.headers
    assert head.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert served.ask("/org/m/resolve/main/t.txt").body == b"text"


def test_an_empty_file(model: str, served: Hub) -> None:
    for method in ("HEAD", "GET"):
        reply = served.ask("/org/m/resolve/main/empty", method)
        assert (reply.status, reply.headers["Content-Length"], reply.body) == (200, "0", b"")
    assert served.ask("/org/m/resolve/main/empty", Range="bytes=0-").error == (416, "RangeNotSatisfiable")


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1000000-2000000", 1_000_000, 2_000_001),
        ("bytes=2999990-", 2_999_990, 3_000_000),
        ("bytes=-7", 2_999_993, 3_000_000),
        ("bytes=0-9999999", 0, 3_000_000),
    ],
)
def test_a_range(model: str, served: Hub, wanted: str, start: int, stop: int) -> None:
    reply = served.ask("/org/m/resolve/main/w.bin", Range=wanted)
    assert reply.status == 206
    assert reply.headers["Content-Range"] == f"bytes {start}-{stop - 1}/3000000"
    assert reply.headers["Content-Length"] == str(stop - start)
    assert reply.body == WEIGHTS[start:stop]


def test_a_range_past_the_end(model: str, served: Hub) -> None:
    reply = served.ask("/org/m/resolve/main/w.bin", Range="bytes=3000000-")
    assert reply.error == (416, "RangeNotSatisfiable")
    assert reply.headers["Content-Range"] == "bytes */3000000"


def test_several_ranges_get_the_whole(model: str, served: Hub) -> None:
    reply = served.ask("/org/m/resolve/main/w.bin", Range="bytes=0-1,5-6")
    assert (reply.status, reply.body) == (200, WEIGHTS)


def test_a_range_of_another_state_gets_the_whole(model: str, served: Hub) -> None:
    etag = f'"{sha256_digest(WEIGHTS).hex}"'
    same = served.ask("/org/m/resolve/main/w.bin", Range="bytes=-7", If_Range=etag)
    assert (same.status, same.body) == (206, WEIGHTS[-7:])
    other = served.ask("/org/m/resolve/main/w.bin", Range="bytes=-7", If_Range='"other"')
    assert (other.status, other.body) == (200, WEIGHTS)


def test_what_the_guest_has_is_not_sent(model: str, served: Hub) -> None:
    etag = f'"{sha256_digest(WEIGHTS).hex}"'
    for method in ("HEAD", "GET"):
        reply = served.ask("/org/m/resolve/main/w.bin", method, If_None_Match=etag)
        assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", etag)
        assert reply.headers["X-Repo-Commit"] == model
    assert served.ask("/org/m/resolve/main/t.txt", if_none_match='"x"').body == b"text"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(store: Store, served: Hub, name: str) -> None:
    from casmodels.serve.routes import encode

    put(store, "m", {name: b"odd", "other": b""})
    path = "/m/resolve/main/" + "/".join(encode(part) for part in name.split("/"))
    for method in ("HEAD", "GET"):
        reply = served.ask(path, method)
        assert reply.status == 200
        disposition = reply.headers["Content-Disposition"]
        assert disposition.isascii()
        assert disposition.count(";") == disposition.replace("x;filename=y", "").count(";") + ("x;" in disposition)
    assert served.ask(path).body == b"odd"
    assert served.ask(path.replace("/main/", "/main%2F")).status == 404


def test_the_name_to_save_under_is_the_last_part(store: Store, served: Hub) -> None:
    put(store, "m", {"d/é 1.bin": b""})
    disposition = served.ask("/m/resolve/main/d/%C3%A9%201.bin").headers["Content-Disposition"]
    assert disposition == "inline; filename*=UTF-8''%C3%A9%201.bin; filename=\"_ 1.bin\";"


def test_links_give_what_they_lead_to(store: Store, served: Hub) -> None:
    put(store, "m", {"a/b.txt": b"x"}, links={"l": "a/b.txt", "d": "a"})
    assert served.ask("/m/resolve/main/l").body == b"x"
    assert served.ask("/m/resolve/main/d/b.txt").body == b"x"


def test_the_size_of_a_giant_is_not_told_in_advance(store: Store) -> None:
    """huggingface_hub refuses more than 50 GB over plain HTTP when HEAD tells the size; GET may tell it."""
    put(store, "m", {"w.bin": WEIGHTS})
    with hub(store, limits=Limits(no_size_bytes=2_999_999)) as served:
        head = served.ask("/m/resolve/main/w.bin", "HEAD")
        assert head.status == 200
        assert "Content-Length" not in head.headers
        assert "X-Linked-Size" not in head.headers
        assert served.ask("/m/resolve/main/w.bin").headers["Content-Length"] == "3000000"


def test_a_range_decodes_only_the_chunks_that_it_touches(
    store: Store, served: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from casstore.engine import Engine
    from casstore.frames import FrameKind

    put(store, "m", {"w.bin": WEIGHTS})
    served.ask("/m/resolve/main/w.bin", "HEAD")
    decoded: list[bytes] = []
    content = Engine.content

    def counted(engine: Engine, kind: FrameKind, digest: bytes, **more: bool) -> object:
        if kind is FrameKind.CHUNK:
            decoded.append(digest)
        return content(engine, kind, digest, **more)

    monkeypatch.setattr(Engine, "content", counted)
    served.ask("/m/resolve/main/w.bin", Range="bytes=1500000-1500009")
    assert len(decoded) == 1
