"""A hub that answers without end, without sense, or with other bytes than it promised."""

from __future__ import annotations

import contextlib
import copy
import gc
import gzip
import hashlib
import json
import random
import time
import warnings
import zlib
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any, Final, cast
from unittest import mock

from casmodels.downloads import Download, Downloader, Location
from casmodels.downloads.retries import Attempts, RetryPolicy
from casmodels.library import Store
from casmodels.results import PullStatus
from casmodels.sources.hub import HubSource
from casstore.digests import sha256_digest
from casstore.errors import FullError, StoreError
from casstore.trees import check_path
from tests.torture.groups.hostile.answers import Answer, AnyServer, answer_of
from tests.torture.groups.hostile.memory import peak_bytes
from tests.torture.groups.hostile.stores import open_store
from tests.torture.plan import Outcome, Plan

CONTENT: Final = bytes(range(256)) * 40
_SHA256: Final = hashlib.sha256(CONTENT).hexdigest()
_COMMIT: Final = "0123456789" * 4
_FILE: Final = "model.safetensors"
_INFO: Final[dict[str, Any]] = {
    "id": "org/model",
    "modelId": "org/model",
    "sha": _COMMIT,
    "private": False,
    "tags": ["license:mit"],
    "lastModified": "2024-01-01T00:00:00.000Z",
    "cardData": {"license": "mit", "base_model": ["org/base"]},
    "siblings": [
        {
            "rfilename": _FILE,
            "size": len(CONTENT),
            "blobId": "a" * 40,
            "lfs": {"sha256": _SHA256, "size": len(CONTENT), "pointerSize": 134},
        }
    ],
}
_HTTP_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_LONGEST_SECONDS: Final = 120.0
_MOST_TAKEN_BYTES: Final = 140 << 20
_MOST_MEMORY_BYTES: Final = 400 << 20
_BLOCK: Final = b"x" * 65536
_ONCE: Final = RetryPolicy(attempts=1, connect_attempts=1, total_attempts=2)


def run(plan: Plan) -> Iterator[Outcome]:
    """The answers that are known to be nasty, then answers changed at random."""
    root = plan.work / "upstream"
    root.mkdir()
    # The pauses between tries are tested elsewhere; here they would be all that takes time.
    with _careless(), mock.patch.object(Attempts, "_pause_seconds", return_value=0.0), AnyServer() as server:
        with open_store(root, HF_ENDPOINT=server.url) as store:
            yield _pulls(store, server)
            yield _bombs(store, server)
        yield _listings(server, plan.random("listings"), 150 if plan.is_short else 4000)
        yield _downloads(server, plan.random("downloads"), 150 if plan.is_short else 4000, root / "partial")


@contextlib.contextmanager
def _careless() -> Iterator[None]:
    """Where a head breaks off, the HTTP libraries leave the socket to the garbage collector, which would warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def _pulls(store: Store, server: AnyServer) -> Outcome:
    failures: list[str] = []
    cases = {f"info: {what}": _with(info=body) for what, body in _infos().items()}
    cases |= {f"file: {what}": _with(file=body) for what, body in _files().items()}
    cases["pages of a tree without end"] = _endless_tree(server)
    for what, answer in cases.items():
        failures += [f"{what}: {failure}" for failure in _pull(store, server, answer)]
    server.become(_with())
    (result,) = store.pull(["org/model"])
    if result.status is not PullStatus.COMPLETED or b"".join(store.cat("org/model", _FILE)) != CONTENT:
        failures.append("after all that, an honest hub's model does not come in")
    if not store.verify(data=True).ok:
        failures.append("after all that, the store is damaged")
    return Outcome("pulls from a hub that answers to harm", len(cases), tuple(failures))


def _pull(store: Store, server: AnyServer, answer: Answer, model: str = "org/model") -> Iterator[str]:
    server.become(answer)
    began = time.monotonic()
    results = []
    try:
        peak = peak_bytes(lambda: results.extend(store.pull([model])))
        if results[0].status is not PullStatus.FAILED:
            yield f"the pull ended as {results[0].status}"
            store.remove(results[0].name or model)
        if peak > _MOST_MEMORY_BYTES:
            yield f"the pull took {peak} bytes of memory"
    except FullError:
        pass  # of the store, not of one model: it ends the pull
    except Exception as error:
        yield f"the pull raised {error!r:.200}"
    if server.sent_bytes > _MOST_TAKEN_BYTES:
        yield f"{server.sent_bytes} bytes were taken"
    if time.monotonic() - began > _LONGEST_SECONDS:
        yield f"the pull took {time.monotonic() - began:.0f} s"


def _with(info: Iterable[bytes] | None = None, file: Iterable[bytes] | None = None) -> Answer:
    """An honest hub but for that answer."""
    honest = answer_of(json.dumps(_INFO).encode())

    def answer(path: str) -> Iterable[bytes]:
        if path.startswith("/api/"):
            return info if info is not None else honest
        return file if file is not None else answer_of(CONTENT)

    return answer


def _forever(head: bytes, block: bytes = _BLOCK) -> Iterable[bytes]:
    """Anew for each request, as `repeat` ends for nobody."""

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            yield head
            yield from repeat(block)

    return cast("Iterable[bytes]", Endless())


def _infos() -> dict[str, Iterable[bytes]]:
    def changed(**fields: object) -> list[bytes]:
        return answer_of(json.dumps(_INFO | fields).encode())

    chunk = b"10000\r\n" + _BLOCK + b"\r\n"
    sibling = cast("dict[str, Any]", _INFO["siblings"][0])
    return {
        "JSON without end": _forever(_HTTP_OK + b'\r\n{"id":"'),
        "JSON without end, in chunks": _forever(_HTTP_OK + b"Transfer-Encoding: chunked\r\n\r\n", chunk),
        "JSON of terabytes": _forever(_HTTP_OK + b'Content-Length: 9999999999999\r\n\r\n{"id":"'),
        "a gzip bomb": answer_of(gzip.compress(bytes(100 << 20), 1), Content_Encoding="gzip"),
        "very deep JSON": answer_of(b"[" * 200_000),
        "headers without end": _forever(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
        "a header line without end": _forever(b"HTTP/1.1 200 OK\r\nX: "),
        "a status line without end": _forever(b"HTTP/1.1 200 "),
        "a redirect to itself": answer_of(b"", "302 Found", Location="/api/models/org/model"),
        "a redirect to a file": answer_of(b"", "302 Found", Location="file:///etc/passwd"),
        "an empty answer": [b""],
        "no HTTP": [b"\x00\xff\x16\x03" * 1000],
        "a commit that goes up": changed(sha="../../../../etc"),
        "a card with fields that are methods": changed(cardData={"to_dict": 1, "_to_dict": 2, "get": 3}, sha="x"),
        "a path that goes up": changed(siblings=[sibling | {"rfilename": "../up"}]),
        "a path with a NUL": changed(siblings=[sibling | {"rfilename": "a\0b"}]),
        "a path that is half a character": changed(siblings=[sibling | {"rfilename": "\ud800"}]),
        "a path of a million directories": changed(siblings=[sibling | {"rfilename": "a/" * 1_000_000 + "a"}]),
        "a size below nothing": changed(siblings=[sibling | {"size": -1}]),
        "a size beyond all disks": changed(siblings=[sibling | {"size": 1 << 62}]),
        "a size beyond all numbers": changed(siblings=[sibling | {"size": 1 << 70}]),
        "a digest that is none": changed(
            siblings=[sibling | {"lfs": {"sha256": "../../up", "size": 1, "pointerSize": 1}}]
        ),
        "siblings that are none": changed(siblings={"a": 5}),
    }


def _files() -> dict[str, Iterable[bytes]]:
    other = CONTENT[:-1] + b"!"
    ok, length = b"HTTP/1.1 200 OK\r\n", f"{len(CONTENT)}"
    return {
        "other bytes": answer_of(other),
        "other bytes, and an ETag that lies": answer_of(other, ETag=f'"{_SHA256}"', X_Linked_ETag=f'"{_SHA256}"'),
        "bytes without end": _forever(ok + b"\r\n"),
        "chunks without end": _forever(ok + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + _BLOCK + b"\r\n"),
        "a chunk of 2^64 bytes": _forever(ok + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"),
        "a chunk size without end": _forever(ok + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 65536),
        "a length of thousands of digits": answer_of(other, Content_Length="9" * 5000),
        "a length that is less": answer_of(CONTENT, Content_Length="5"),
        "a length that is more": answer_of(CONTENT, Content_Length="99999999999"),
        "two lengths": answer_of(other, Content_Length=f"5\r\nContent-Length: {length}"),
        "a range of thousands of digits": answer_of(other, "206 Partial", Content_Range=f"bytes {'9' * 5000}-0/1"),
        "a range that was not asked for": answer_of(CONTENT[5:], "206 Partial", Content_Range="bytes 5-9/10"),
        "a zone of very many hours": answer_of(
            b"", "503 No", Retry_After="Mon, 01 Jan 2024 00:00:00 +99999999999999999999"
        ),
        "a pause of very many years": answer_of(b"", "429 No", Retry_After="9" * 4000),
        "redirects without end": answer_of(b"", "302 Found", Location="/again"),
        "a redirect to a file": answer_of(b"", "302 Found", Location="file:///etc/passwd"),
        "a redirect to nonsense": answer_of(b"", "302 Found", Location="http://[::1/\xff\x7f"),
        "headers without end": _forever(ok, b"X: y\r\n" * 1000),
        "a header line without end": _forever(ok + b"X: "),
        "compressed": answer_of(gzip.compress(CONTENT), Content_Encoding="gzip"),
        "an empty answer": [b""],
    }


def _endless_tree(server: AnyServer) -> Answer:
    """The info names files without digests, so the tree is asked for: each page says that there is one more."""
    info = answer_of(json.dumps(_INFO | {"siblings": [{"rfilename": "a"}]}).encode())
    entry = {"type": "file", "path": "d" * 500, "size": 1, "oid": "a" * 40}
    page = json.dumps([entry] * 4000).encode()

    def answer(path: str) -> Iterable[bytes]:
        if "/tree/" not in path:
            return info
        return answer_of(page, Link=f'<{server.url}/api/models/org/model/tree/{_COMMIT}?c=1>; rel="next"')

    return answer


def _bombs(store: Store, server: AnyServer) -> Outcome:
    """A gzip file at a URL that is a thousand times as large unpacked."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    bomb = b"".join([packer.compress(block) for _ in range(200)]) + packer.flush()
    failures = list(_pull(store, server, lambda _: answer_of(bomb), f"{server.url}/model.bin.gz"))
    return Outcome("gzip bombs at a URL", 1, tuple(failures))


_VALUES: Final[list[Any]] = [
    *(None, True, 0, -1, 1 << 63, 1 << 70, 1.5, float("inf"), "", "..", "/etc/passwd", "a" * 300, "\0", "\ud800"),
    *([], [[]], {}, {"a": {}}, [None], ["x"], "9999-99-99T99:99:99.000Z", "9" * 5000),
]


def _listings(server: AnyServer, chance: random.Random, count: int) -> Outcome:
    """A repo's description with a few values replaced: a listing that is sound, or an error of the store's own."""
    failures = []
    source = HubSource(server.url, retries=_ONCE, timeout_seconds=10)
    for number in range(count):
        document = json.loads(json.dumps(_INFO))
        for _ in range(chance.randint(1, 3)):
            _replace_one(document, chance)
        body = json.dumps(document).encode()
        server.become(lambda _, body=body: answer_of(body))  # type: ignore[misc]
        try:
            for file in source.listing(source.resolve("org/model")).files:
                check_path(file.path)
                assert 0 <= file.size_bytes < 1 << 63
                assert file.digest.value
        except StoreError:
            continue
        except Exception as error:
            failures.append(f"description {number}, {body!r:.300}, raised {error!r:.200}")
    return Outcome("a repo's description, changed at random", count, tuple(failures))


def _replace_one(document: Any, chance: random.Random) -> None:
    """Go down to some place in it, and put something else there."""
    while True:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        key = chance.choice(keys)
        inner = document[key]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.8:
            document = inner
            continue
        document[key] = copy.deepcopy(chance.choice(_VALUES))
        return


_STATUSES: Final = ["200 OK", "206 Partial", "206 Partial", "302 Found", "416 No", "404 No", "503 No", "200", "999 ?"]
_HEADERS: Final = ["Content-Length", "Content-Range", "ETag", "Content-Encoding", "Content-Type", "Retry-After"]
_MORE_HEADERS: Final = ["Location", "Transfer-Encoding", "Content-Disposition", "RateLimit", "X-Error-Code", "Date"]
_TEXTS: Final = [
    *("", "0", "-1", "5", "10240", "9" * 30, "9" * 5000, "x", '"', '""', 'W/"a"', f'"{_SHA256}"', "bytes 0-5/10240"),
    *("bytes 5-9/10", "bytes */10240", "bytes */0", "bytes 0-10239/10240", "gzip", "identity", "chunked", "text/html"),
    *("file:///etc/passwd", "//", "http://[", "/other", "Mon, 01 Jan 2024 00:00:00 +9999999999999", "r=0;t=99", "\xff"),
    *("attachment; filename=../../up", "1e999", "0x10", " 7 ", "1, 1", "²"),
]


def _downloads(server: AnyServer, chance: random.Random, count: int, directory: Path) -> Outcome:
    """An answer with headers and a body at random: the very bytes, or an error of the store's own; never others."""
    failures = []
    for number in range(count):
        headers = {chance.choice(_HEADERS + _MORE_HEADERS): chance.choice(_TEXTS) for _ in range(chance.randint(1, 3))}
        body = chance.choice((CONTENT, CONTENT, CONTENT[:-1], CONTENT + b"x", CONTENT[5:], b"", CONTENT[::-1]))
        status = chance.choice(_STATUSES)
        named = {name.replace("-", "_"): value for name, value in headers.items()}
        made = answer_of(body, status, **named)
        server.become(lambda _, made=made: made)  # type: ignore[misc]
        is_known = chance.random() < 0.7
        expected, size_bytes = (sha256_digest(CONTENT), len(CONTENT)) if is_known else (None, None)
        wanted = Download("file", f"key{number}", (Location(f"{server.url}/file"),), size_bytes, expected)
        try:
            with Downloader(directory, retries=_ONCE, stall_seconds=10) as downloader:
                got = downloader.fetch(wanted)
                assert got is not None
                if is_known and got.path.read_bytes() != CONTENT:
                    failures.append(f"download {number} ({status}, {headers!r:.200}) gave other bytes")
                got.discard()
        except StoreError:
            continue
        except Exception as error:
            failures.append(f"download {number} ({status}, {headers!r:.200}) raised {error!r:.200}")
    return Outcome("downloads whose headers and bodies are at random", count, tuple(failures))
