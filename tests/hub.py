"""A small Hub on 127.0.0.1 that can be told to misbehave, path by path.

    with FakeHub() as hub:
        commit = hub.add("org/name", {"config.json": b"{}", "model.safetensors": weights})
        hub.fault("org/name/model.safetensors", Fault(flip=1000, times=1))
        ...  # point a client at hub.url; look at hub.seen afterwards

It speaks the read API that the clients use (info, tree, paths-info, refs, resolve) and serves plain files
besides (`hub.files["/dir/model.pt"] = b"..."`). Nothing here comes from the product, so that both can be
wrong only apart.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes, urlsplit

LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".h5", ".msgpack", ".ot")
HTML_PAGE = b"<!DOCTYPE html>\n<html><body>Please log in to the network.</body></html>\n"
_BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the answers for one path. ``times`` is how many requests it hits; -1 is all of
    them.

    Faults of one path that are added one after the other take turns: the first until its ``times`` are used
    up.
    """

    times: int = -1
    status: int | None = None
    """Answer this status (404 without X-Error-Code when ``error_code`` is empty)."""
    error_code: str = ""
    retry_after: str | None = None
    flip: int | None = None
    """Flip a bit of the byte at this position of the file."""
    cut: int | None = None
    """Close the connection after this many bytes of the body."""
    stall: tuple[int, float] | None = None
    """After so many bytes of the body send nothing for so many seconds (or until the Hub closes)."""
    trickle: tuple[int, float] | None = None
    """Send so many bytes at a time with so many seconds between."""
    longer: bytes = b""
    """More bytes at the end of the file, counted in Content-Length."""
    html: bool = False
    html_type: str = "text/html; charset=utf-8"
    ignore_range: bool = False
    ignore_condition: bool = False
    """Honour Range but not If-Range."""
    wrong_range: bool = False
    """Answer 206 with the first byte one further on than was asked for."""
    no_etag: bool = False
    etag: str | None = None
    no_length: bool = False
    """No Content-Length: the end is where the connection closes."""
    encoding: str | None = None
    """Claim this Content-Encoding."""
    drop: bool = False
    """Close the connection without a word."""
    redirect: str | None = None
    """302 to this URL."""


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    """With lower-case names."""
    status: int

    @property
    def token(self) -> str | None:
        """What came after ``Bearer``, or the whole Authorization header."""
        given = self.headers.get("authorization")
        return given.removeprefix("Bearer ") if given is not None else None

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


@dataclass
class Repo:
    """A repo with its commits; ``refs`` maps branches and tags to commits."""

    name: str
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    disabled: bool = False
    card: dict[str, Any] = field(default_factory=lambda: {"license": "apache-2.0"})
    tags: list[str] = field(default_factory=list)
    library: str | None = None
    pipeline_tag: str | None = None

    def commit_of(self, revision: str) -> str | None:
        return self.refs.get(revision) or (revision if revision in self.commits else None)


class FakeHub:
    """The server; a context manager. ``tokens`` are the valid ones; they open private and gated repos."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.repos: dict[str, Repo] = {}
        self.files: dict[str, bytes] = {}
        self.dispositions: dict[str, str] = {}
        self.tokens: set[str] = set()
        self.seen: list[Seen] = []
        self.proxied: list[str] = []
        """Absolute URLs that were asked for, as a client does of a proxy; the answer is that for their path."""
        self.cdn: FakeHub | None = None
        self.page_entries = 1000
        self.siblings_have_blobs = True
        """False: like a mirror that knows nothing of ``?blobs=true``."""
        self.raw_siblings: list[dict[str, Any]] | None = None
        """Whatever a hostile server would list instead."""
        self.info_headers: dict[str, str] = {}
        """More headers of every info."""
        self.closing = threading.Event()
        self.mutex = threading.Lock()
        self._host = host
        self._faults: dict[str, list[Fault]] = {}
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> FakeHub:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = _Server((self._host, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._server.close_all()
        self._thread.join()

    @property
    def url(self) -> str:
        """The endpoint, without a slash at its end."""
        assert self._server is not None
        return f"http://{self._host}:{self._server.server_address[1]}"

    @property
    def connections(self) -> int:
        """How many connections were made to it."""
        assert self._server is not None
        return self._server.accepted

    def add(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        branch: str = "main",
        commit: str | None = None,
        **attributes: Any,
    ) -> str:
        """A new commit with exactly these files on a branch; gives its id. ``attributes`` are those of
        `Repo`.
        """
        repo = self.repos.setdefault(name, Repo(name))
        for key, value in attributes.items():
            setattr(repo, key, value)
        seed = repr((name, len(repo.commits), sorted(files))).encode("utf-8", "surrogateescape")
        commit = commit or hashlib.sha1(seed).hexdigest()
        repo.commits[commit] = dict(files)
        repo.refs[branch] = commit
        return commit

    def fault(self, path: str, fault: Fault) -> None:
        """Have it go wrong for ``org/name/file``, for ``/plain/file``, or for ``/api/…``."""
        with self.mutex:
            self._faults.setdefault(path, []).append(fault)

    def heal(self, path: str | None = None) -> None:
        """Take the faults of a path, or all of them, away."""
        with self.mutex:
            if path is None:
                self._faults.clear()
            else:
                self._faults.pop(path, None)

    def forget(self) -> None:
        """Empty the list of what was seen."""
        with self.mutex:
            self.seen.clear()

    def downloads(self, path: str | None = None) -> list[Seen]:
        """The GETs of files, or of those whose URL path ends so."""
        return [
            seen
            for seen in self.seen
            if seen.method == "GET" and not seen.path.startswith("/api/") and (path is None or seen.path.endswith(path))
        ]

    def next_fault(self, path: str) -> Fault | None:
        """The fault that the next answer for a path has, counted as used."""
        with self.mutex:
            faults = self._faults.get(path, [])
            while faults and faults[0].times == 0:
                faults.pop(0)
            if not faults:
                return None
            if faults[0].times > 0:
                faults[0] = replace(faults[0], times=faults[0].times - 1)
            return faults[0]


def git_blob_id(data: bytes) -> str:
    """What git calls these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def lfs_pointer(data: bytes) -> bytes:
    """What lies in git instead of a large file."""
    digest = hashlib.sha256(data).hexdigest()
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (digest.encode(), len(data))


def is_lfs(path: str) -> bool:
    """Whether this Hub keeps a file through LFS: a matter of its name."""
    return path.endswith(LFS_SUFFIXES)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._clients: set[socket.socket] = set()
        self.accepted = 0
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._clients.add(request)
        self.accepted += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._clients.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""

    def close_all(self) -> None:
        """Close what listens and every connection, so that no thread lives on."""
        self.server_close()
        for client in list(self._clients):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    # What was asked

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        if parts.netloc:
            self.hub.proxied.append(self.path)
        self._raw_path, self._query = parts.path, parse_qs(parts.query, keep_blank_values=True)
        length = int(self.headers.get("Content-Length") or 0)
        self._form = parse_qs(self.rfile.read(length).decode()) if length else {}
        fault = self.hub.next_fault(self._raw_path)
        if self._raw_path in self.hub.files:
            return self._file(self._raw_path, self.hub.files[self._raw_path], {}, fault or Fault())
        if fault is not None:
            return self._misbehave(fault, b"{}", "application/json")
        if match := re.match(r"/api/(models|datasets|spaces)/(.+)", self._raw_path):
            return self._api(match[2])
        if match := re.match(r"/(?:(?:datasets|spaces)/)?(.+?)/resolve/([^/]+)/(.+)", self._raw_path):
            return self._resolve(match[1], _decode(match[2]), _decode(match[3]))
        if self._raw_path == "/api/whoami-v2":
            return self._error(401, "", "Invalid username or password.")
        return self._error(404, "", "")

    def _api(self, rest: str) -> None:
        match = re.match(r"(.+?)/(revision|tree|paths-info|refs)(?:/([^/]+))?\Z", rest)
        name, verb = (match[1], match[2]) if match else (rest, "revision")
        revision = _decode(match[3]) if match and match[3] else "main"
        repo = self._permitted(_decode(name))
        if repo is None:
            return None
        if verb == "refs":
            branches = [
                {"name": ref, "ref": f"refs/heads/{ref}", "targetCommit": commit} for ref, commit in repo.refs.items()
            ]
            return self._json({"branches": branches, "tags": [], "converts": []})
        commit = repo.commit_of(revision)
        if commit is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repo.commits[commit]
        if verb == "tree":
            return self._tree(files)
        if verb == "paths-info":
            return self._json([_tree_entry(path, files[path]) for path in self._form.get("paths", []) if path in files])
        return self._json(self._info(repo, commit), self.hub.info_headers)

    def _info(self, repo: Repo, commit: str) -> dict[str, Any]:
        with_blobs = "blobs" in self._query and self.hub.siblings_have_blobs
        siblings = [_sibling(path, data, with_blobs) for path, data in sorted(repo.commits[commit].items())]
        if self.hub.raw_siblings is not None:
            siblings = self.hub.raw_siblings
        return {
            "_id": "0",
            "id": repo.name,
            "modelId": repo.name,
            "sha": commit,
            "private": repo.private,
            "gated": "auto" if repo.gated else False,
            "disabled": repo.disabled,
            "tags": repo.tags,
            "lastModified": "2024-01-01T00:00:00.000Z",
            "cardData": repo.card,
            "library_name": repo.library,
            "pipeline_tag": repo.pipeline_tag,
            "siblings": siblings,
        }

    def _tree(self, files: dict[str, bytes]) -> None:
        entries = [_tree_entry(path, data) for path, data in sorted(files.items())]
        start = int(self._query.get("cursor", ["0"])[0])
        end = start + self.hub.page_entries
        headers = {}
        if end < len(entries):
            headers["Link"] = f'<{self.hub.url}{self._raw_path}?recursive=true&cursor={end}>; rel="next"'
        self._json(entries[start:end], headers)

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._permitted(_decode(name))
        if repo is None:
            return None
        if repo.gated and self._token() not in self.hub.tokens:
            status = 401 if self._token() is None else 403
            return self._error(status, "GatedRepo", f"Access to model {name} is restricted.")
        commit = repo.commit_of(revision)
        if commit is None:
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if path not in repo.commits[commit]:
            return self._error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        data = repo.commits[commit][path]
        fault = self.hub.next_fault(f"{repo.name}/{path}")
        etag = hashlib.sha256(data).hexdigest() if is_lfs(path) else git_blob_id(data)
        headers = {"X-Repo-Commit": commit}
        if is_lfs(path) and self.hub.cdn is not None and fault is None:
            headers |= {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(data))}
            self.hub.cdn.files[f"/cdn/{etag}"] = data
            return self._redirect(f"{self.hub.cdn.url}/cdn/{etag}", headers)
        return self._file(f"{repo.name}/{path}", data, headers | {"ETag": f'"{etag}"'}, fault or Fault())

    def _permitted(self, name: str) -> Repo | None:
        """The repo, or None after an error was sent."""
        token = self._token()
        if token is not None and token not in self.hub.tokens:
            self._error(401, "", "Invalid credentials in Authorization header")
            return None
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and token is None):
            status = 401 if token is None else 404
            self._error(status, "RepoNotFound", "Repository not found")
            return None
        if repo.disabled:
            self._error(403, "", "Access to this resource is disabled.")
            return None
        return repo

    def _token(self) -> str | None:
        given = self.headers.get("Authorization")
        return given.removeprefix("Bearer ") if given is not None else None

    # How it is answered

    def _misbehave(self, fault: Fault, data: bytes, media_type: str) -> None:
        headers = {"Content-Type": media_type}
        if fault.drop:
            self._log(0)
            self.close_connection = True
        elif fault.redirect is not None:
            self._redirect(fault.redirect, {})
        elif fault.status is not None:
            given = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
            self._error(fault.status, fault.error_code, "", given)
        elif fault.html:
            self._send(200, {"Content-Type": fault.html_type}, HTML_PAGE, Fault())
        else:
            self._send(200, headers, data, fault)

    def _file(self, label: str, data: bytes, headers: dict[str, str], fault: Fault) -> None:
        if fault.drop or fault.redirect is not None or fault.status is not None or fault.html:
            return self._misbehave(fault, data, "application/octet-stream")
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"} | headers
        headers.setdefault("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        if fault.etag is not None:
            headers["ETag"] = fault.etag
        if fault.no_etag:
            del headers["ETag"]
        if fault.encoding is not None:
            headers["Content-Encoding"] = fault.encoding
        if label in self.hub.dispositions:
            headers["Content-Disposition"] = self.hub.dispositions[label]
        if fault.flip is not None:
            position = fault.flip
            data = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        data += fault.longer
        start = self._wanted_start(headers.get("ETag"), fault)
        if start is None:
            return self._send(200, headers, data, fault)
        if start >= len(data):
            return self._send(416, headers | {"Content-Range": f"bytes */{len(data)}"}, b"", Fault())
        if fault.wrong_range:
            start = min(start + 1, len(data) - 1)
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._send(206, headers, data[start:], fault)

    def _wanted_start(self, etag: str | None, fault: Fault) -> int | None:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if match is None or fault.ignore_range:
            return None
        condition = self.headers.get("If-Range")
        if condition is not None and condition != etag and not fault.ignore_condition:
            return None
        return int(match[1])

    def _redirect(self, url: str, headers: dict[str, str]) -> None:
        self._send(302, headers | {"Location": url}, b"", Fault())

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        given = {"X-Error-Code": code} if code else {}
        given |= {"X-Error-Message": message} if message else {}
        body = json.dumps({"error": message}).encode()
        self._send(status, given | {"Content-Type": "application/json"} | (headers or {}), body, Fault())

    def _json(self, value: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self._send(200, {"Content-Type": "application/json"} | (headers or {}), body, Fault())

    def _send(self, status: int, headers: dict[str, str], body: bytes, fault: Fault) -> None:
        self._log(status)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if fault.no_length:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        for block in self._blocks(body, fault):
            self.wfile.write(block)
        if fault.cut is not None or fault.no_length:
            self.close_connection = True

    def _blocks(self, body: bytes, fault: Fault) -> Iterator[bytes]:
        if fault.cut is not None:
            body = body[: fault.cut]
        if fault.stall is not None:
            before, seconds = fault.stall
            yield body[:before]
            self.hub.closing.wait(seconds)
            body = body[before:]
        size, pause = fault.trickle or (_BLOCK_BYTES, 0.0)
        for position in range(0, len(body), size):
            if pause and self.hub.closing.wait(pause):
                return
            yield body[position : position + size]

    def _log(self, status: int) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.hub.mutex:
            self.hub.seen.append(Seen(self.command, self._raw_path, self._query, headers, status))


def _decode(quoted: str) -> str:
    return unquote_to_bytes(quoted).decode("utf-8", "surrogateescape")


def _sibling(path: str, data: bytes, with_blobs: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": path}
    if with_blobs:
        entry |= {"size": len(data), "blobId": git_blob_id(lfs_pointer(data) if is_lfs(path) else data)}
        if is_lfs(path):
            digest = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": len(lfs_pointer(data))}
    return entry


def _tree_entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data)}
    entry["oid"] = git_blob_id(lfs_pointer(data) if is_lfs(path) else data)
    if is_lfs(path):
        digest = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": len(lfs_pointer(data))}
    return entry
