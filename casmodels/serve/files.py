"""`resolve`: one file, whole or a range, or only its headers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from aiohttp import web

from casmodels.etags import HubFile
from casmodels.serve.bodies import Body, Budget, Sender
from casmodels.serve.catalogue import Catalogue
from casmodels.serve.limits import Limits
from casmodels.serve.ranges import Conditions, Extent, is_known, read_range
from casmodels.serve.refusals import RefusalError, entry_not_found
from casmodels.serve.routes import Route
from casstore.blobs import BlobReader
from casstore.digests import Digest
from casstore.errors import DamagedError, FalseRecipeError
from casstore.store import Store

_TEXTS = frozenset({"", ".cfg", ".csv", ".ini", ".jinja", ".log", ".md", ".py", ".toml", ".txt", ".yaml", ".yml"})
_TYPES = {".json": "application/json", ".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """The file that was asked for.

    ``known`` says that the guest has it already; ``extent`` is None when the range lies past its end; ``body`` is
    there when bytes are to be sent.
    """

    file: HubFile
    commit: str
    known: bool
    extent: Extent | None
    body: Body | None = None


class Files:
    """Answers `resolve`. Made inside the running loop; ``pool`` looks up and decodes."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        pool: ThreadPoolExecutor,
        limits: Limits,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._pool = pool
        self._limits = limits
        self._sender = Sender(pool, limits.stall_seconds)
        self._budget = Budget(limits.ahead_bytes)
        self._turns = asyncio.Semaphore(limits.bodies)
        self._false: set[Digest] = set()

    async def head(self, request: web.Request, routes: list[Route]) -> web.StreamResponse:
        """The headers alone. Raises RefusalError or StoreError."""
        found = await self._find(request, routes, None)
        response = web.StreamResponse(status=304 if found.known else 200, headers=_headers(found))
        if not found.known and found.file.size_bytes <= self._limits.no_size_bytes:
            response.content_length = found.file.size_bytes
            if found.file.is_large:
                response.headers["X-Linked-Size"] = str(found.file.size_bytes)
        return response

    async def get(self, request: web.Request, routes: list[Route]) -> web.StreamResponse:
        """The file or a range of it. Raises RefusalError or StoreError, before the first byte only."""
        try:
            async with asyncio.timeout(self._limits.turn_seconds):
                await self._turns.acquire()
        except TimeoutError:
            # After other statuses the client does not ask for a body again.
            raise RefusalError(429, "TooManyRequests", "too many downloads at once; try again soon") from None
        try:
            with self._budget.share() as ahead_bytes:
                found = await self._find(request, routes, ahead_bytes)
                response = web.StreamResponse(headers=_headers(found))
                if found.known:
                    response.set_status(304)
                elif found.extent is None:
                    raise _past_the_end(found)
                elif found.body is not None:
                    response.content_length = found.extent.length
                    if found.extent.partial:
                        response.set_status(206)
                        response.headers["Content-Range"] = found.extent.content_range
                    await self._sender.send(request, response, found.body)
                return response
        finally:
            self._turns.release()

    async def _find(self, request: web.Request, routes: list[Route], ahead_bytes: int | None) -> Found:
        asked = request.headers
        conditions = Conditions(asked.get("Range"), asked.get("If-Range"), asked.get("If-None-Match"))
        opening = self._pool.submit(self._open, conditions, routes, ahead_bytes)
        try:
            return await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)
            raise

    def _open(self, conditions: Conditions, routes: list[Route], ahead_bytes: int | None) -> Found:
        """In a worker: look the file up and, with ``ahead_bytes``, decode the first piece of what is asked for."""
        with ExitStack() as lease:
            reader = lease.enter_context(self._store.reading())
            route, repo = self._catalogue.choose(reader, routes)
            listing = self._catalogue.listing(reader, repo.find(route.revision))
            file = listing.files.get(route.path)
            if file is None:
                raise entry_not_found(repo.name, listing.commit, route.path)
            known = is_known(conditions, file.etag)
            extent = read_range(conditions, file.etag, file.size_bytes)
            if ahead_bytes is None or known or extent is None:
                return Found(file, listing.commit, known, extent)
            blob = reader.open_blob(file.sha256)
            if blob.size_bytes != file.size_bytes:
                raise DamagedError(repr(file.path), f"it has {blob.size_bytes} bytes, its tree says {file.size_bytes}")
            if self._false and blob.recipe in self._false:
                raise FalseRecipeError(repr(file.path), "its recipe makes another file")
            pieces = self._noting(blob, blob.stream(extent.start, extent.stop, ahead_bytes))
            first = next(pieces, None)
            return Found(file, listing.commit, known, extent, Body(lease.pop_all(), first, pieces))

    def _noting(self, blob: BlobReader, pieces: Iterator[memoryview]) -> Iterator[memoryview]:
        """Remember a recipe that turns out to lie: a guest who was cut off would ask for the rest as a range."""
        try:
            yield from pieces
        except FalseRecipeError:
            self._false.add(blob.recipe)
            raise


def _close_unwanted(opening: Future[Found]) -> None:
    """Let go of a body that was opened for a request which has been cancelled meanwhile."""
    if not opening.cancelled() and opening.exception() is None:
        body = opening.result().body
        if body is not None:
            body.close()


def _headers(found: Found) -> dict[str, str]:
    file = found.file
    name = PurePosixPath(file.path).name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    plain = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\%' else "_" for letter in name
    )
    headers = {
        "ETag": f'"{file.etag}"',
        "X-Repo-Commit": found.commit,
        "Accept-Ranges": "bytes",
        "Content-Type": _content_type(file.path),
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}; filename=\"{plain}\";",
        "X-Content-Type-Options": "nosniff",
    }
    if file.is_large:
        headers["X-Linked-ETag"] = f'"{file.etag}"'
    return headers


def _content_type(path: str) -> str:
    """Nothing that a browser would run: a model's files are strangers' files."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in _TEXTS:
        return "text/plain; charset=utf-8"
    return _TYPES.get(suffix, "application/octet-stream")


def _past_the_end(found: Found) -> RefusalError:
    message = f"{found.file.path!r} has {found.file.size_bytes} bytes only"
    refusal = RefusalError(416, "RangeNotSatisfiable", message, commit=found.commit)
    refusal.headers["Content-Range"] = f"bytes */{found.file.size_bytes}"
    return refusal
