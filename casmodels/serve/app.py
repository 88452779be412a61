"""The aiohttp application: from a request to an answer of the Hub's shape, errors included."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from casmodels.registry import Registry
from casmodels.serve.api import Answer, Api, Fields
from casmodels.serve.catalogue import Catalogue
from casmodels.serve.files import Files
from casmodels.serve.guests import greet, hang_up, open_connections, rest
from casmodels.serve.limits import Limits
from casmodels.serve.page import models_page
from casmodels.serve.refusals import RefusalError, no_such_page, read_only
from casmodels.serve.routes import Endpoint, Place, Route, read_path
from casmodels.serve.server import is_loopback, is_loopback_name, resolve_host, serve_app
from casstore.errors import IntegrityError, InvalidInputError, NotFoundError, StoreError, UnusableStoreError
from casstore.store import Store

if TYPE_CHECKING:
    from casmodels.serve.measures import Measures

DESCRIPTION: Final = Path(__file__).with_name("openapi.json")
"""What the server answers, in OpenAPI's terms; served where the Hub has its own."""
_THREADS: Final = 8
_ROUTE = web.RequestKey("route", str)
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_SPECIAL = re.compile(r"[\x00-\x1f\x7f]")
_TOKEN = re.compile(r"[!-~]+")
_MAX_MESSAGE: Final = 1000

_P = ParamSpec("_P")
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


def build(
    store: Store,
    registry: Registry | None = None,
    token: str | None = None,
    limits: Limits | None = None,
    *,
    metrics: bool = False,
) -> web.Application:
    """The Hub's read API over a store.

    ``registry`` lets aliases be asked for and tells the models' tasks. With a ``token`` every request but `/healthz`
    must carry it; without one, requests must be addressed to this machine by a loopback name, so that no web page can
    read the store through a name of its own (DNS rebinding). With ``metrics`` it counts, and tells its figures at
    `/metrics`; raises MissingExtraError where prometheus-client is not installed. The store stays open for as long as
    the application runs.
    """
    limits = limits or Limits()
    server = _Server(store, registry, token, limits, _measures(store) if metrics else None)
    app = web.Application(client_max_size=limits.form_bytes, middlewares=[server.guard])
    app.cleanup_ctx.append(server.lifetime)
    # Line breaks too: the router decodes before it matches.
    app.router.add_route("*", r"/{path:[\s\S]*}", server.answer, expect_handler=_encourage)
    return app


def run(
    store: Store,
    host: str,
    port: int,
    token: str | None,
    on_ready: Callable[[str], None],
    registry: Registry | None = None,
    *,
    metrics: bool = False,
) -> None:
    """Serve until Ctrl-C or SIGTERM; what is being sent then has a few seconds to end.

    ``on_ready`` gets one line for people, ``serving STORE on URL``, when the first request may come; port 0 takes a
    free one. Raises InvalidInputError for an address that cannot be listened on, for a token that no header can
    carry, and for an address that other machines reach while there is no token.
    """
    address = resolve_host(host)
    if token is not None and not _TOKEN.fullmatch(token):
        raise InvalidInputError("a token is made of letters, digits and signs, without spaces")
    if token is None and not is_loopback(address):
        raise InvalidInputError(
            f"{host} can be reached by other machines, so a token is needed", remedy="add `--token SECRET`"
        )
    app = build(store, registry, token, metrics=metrics)
    serve_app(app, address, port, lambda url: on_ready(f"serving {store.path} on {url}"))


class _Server:
    def __init__(
        self, store: Store, registry: Registry | None, token: str | None, limits: Limits, measures: Measures | None
    ) -> None:
        self._store = store
        self._token = token.encode() if token is not None else None
        self._limits = limits
        self._measures = measures
        self._catalogue = Catalogue(registry)
        self._api = Api(store, self._catalogue)
        self._description = DESCRIPTION.read_bytes()

    async def lifetime(self, _app: web.Application) -> AsyncIterator[None]:
        self._pool = ThreadPoolExecutor(_THREADS, "casmodels-serve")
        self._files = Files(self._store, self._catalogue, self._pool, self._limits)
        yield
        # Waits, so that every lease has been let go before the store is closed.
        await asyncio.to_thread(self._pool.shutdown)

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn away who has no business here, give every error the Hub's form, and see it sent."""
        greet(request)
        begun = time.perf_counter()
        response = await self._respond(request, handler)
        try:
            async with asyncio.timeout(self._limits.stall_seconds):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            _log.warning("%s broke off: the answer was not taken", request.raw_path)
            hang_up(request)
        except ConnectionError:
            _log.info("%s broke off: the guest went away", request.raw_path)
        if self._measures is not None:
            route = request.get(_ROUTE, "none")
            self._measures.count(request, route, response.status, time.perf_counter() - begun)
        rest(request)
        return response

    async def _respond(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._check_guest(request)
            return await handler(request)
        except RefusalError as refusal:
            return _refused(refusal)
        except StoreError as error:
            _log.error("%s: %s", request.raw_path, error)
            return _refused(_refusal_of(error))
        except web.HTTPException as error:
            return _refused(RefusalError(error.status, "BadRequest", error.reason))
        except Exception:
            _log.exception("%s failed", request.raw_path)
            return _refused(RefusalError(500, "InternalError", "the server failed; its log says why"))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Every request comes here; paths are matched raw."""
        path, query = _target(request)
        routes = read_path(path)
        request[_ROUTE] = _route(path, routes)
        takes_forms = any(route.endpoint is Endpoint.PATHS_INFO for route in routes)
        if request.method == "POST" and takes_forms:
            form = await self._form(request)
            return self._json(request, await self._work(self._api.repo, routes, query, form))
        if request.method not in ("GET", "HEAD"):
            raise read_only(takes_forms=takes_forms)
        if routes and routes[0].endpoint is Endpoint.RESOLVE:
            respond = self._files.head if request.method == "HEAD" else self._files.get
            return await respond(request, routes)
        if routes:
            return self._json(request, await self._work(self._api.repo, routes, query))
        return await self._answer_fixed(request, path, query)

    async def _answer_fixed(self, request: web.Request, path: str, query: Fields) -> web.StreamResponse:
        match path:
            case Place.PAGE:
                rows = await self._work(self._api.names)
                page = models_page(_origin(request), rows)
                return web.Response(
                    text=page, content_type="text/html", headers={"Content-Security-Policy": _PAGE_POLICY}
                )
            case Place.HEALTH:
                return web.Response(text="ok\n")
            case Place.DESCRIPTION:
                return web.Response(body=self._description, content_type="application/json", charset="utf-8")
            case Place.MODELS:
                return self._json(request, await self._work(self._api.models, query))
            case Place.DATASETS | Place.SPACES:
                return self._json(request, Answer(b"[]"))
            case Place.WHOAMI:
                raise RefusalError(401, "Unauthorized", "this server has no users")
            case Place.METRICS if self._measures is not None:
                figures = await self._work(self._measures.text, open_connections(request.app))
                return web.Response(body=figures, headers={"Content-Type": self._measures.content_type})
        raise no_such_page()

    def _check_guest(self, request: web.Request) -> None:
        if request.raw_path == Place.HEALTH:
            return
        if self._token is None:
            host = request.headers.get("Host")
            if host is not None and not is_loopback_name(host):
                message = f"this server answers to loopback addresses only, not to {host!r}"
                raise RefusalError(421, "MisdirectedRequest", message)
            return
        given = request.headers.get("Authorization")
        if given is None:
            raise RefusalError(401, "Unauthorized", "this server needs a token: set HF_TOKEN")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), b"Bearer " + self._token):
            # In the Hub's words, by which the client tells a bad token from a missing repository.
            raise RefusalError(401, "Unauthorized", "Invalid credentials in Authorization header")

    async def _form(self, request: web.Request) -> Fields:
        try:
            async with asyncio.timeout(self._limits.form_seconds):
                return Fields((await request.read()).decode("latin-1"))
        except TimeoutError:
            raise RefusalError(408, "RequestTimeout", "the form did not arrive in time") from None
        except web.RequestPayloadError as error:
            raise RefusalError(400, "BadRequest", "the form does not arrive as its headers say") from error

    async def _work(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run what blocks in a worker thread."""
        return await asyncio.wrap_future(self._pool.submit(function, *args, **kwargs))

    def _json(self, request: web.Request, answer: Answer) -> web.Response:
        response = web.Response(body=answer.document, content_type="application/json", charset="utf-8")
        if answer.commit is not None:
            response.headers["X-Repo-Commit"] = answer.commit
        if answer.next_page is not None:
            response.headers["Link"] = f'<{_origin(request)}{answer.next_page}>; rel="next"'
        return response


async def _encourage(request: web.Request) -> None:
    """Tell who waits for it that a form may come. Any other expectation is overlooked (RFC 9110, section 10.1.1):
    aiohttp's own refusal fails where it is no text."""
    if request.method == "POST" and request.headers["Expect"].lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # else it would take these bytes for the answer's


def _measures(store: Store) -> Measures:
    from casmodels.serve.measures import Measures

    return Measures(store)


def _route(path: str, routes: Sequence[Route]) -> str:
    """What a request asks for, in one of a few words."""
    if routes:
        return routes[0].endpoint.value
    return Place(path).name.lower() if path in tuple(Place) else "none"


def _target(request: web.Request) -> tuple[str, Fields]:
    """The raw path and the query."""
    target = request.raw_path
    if not target.startswith("/"):
        parts = urlsplit(target)
        return parts.path or "/", Fields(parts.query)
    path, _, query = target.partition("?")
    return path, Fields(query)


def _origin(request: web.Request) -> str:
    """How the guest calls this server. A proxy that adds TLS says so: a plain link would give the token away."""
    proto = request.headers.get("X-Forwarded-Proto", "")
    # Not request.host: without the header it would ask the name service, and all other guests would wait.
    host = request.headers.get("Host", "localhost")
    return f"{proto if proto in ('http', 'https') else request.scheme}://{host}"


def _refused(refusal: RefusalError) -> web.Response:
    message = _SPECIAL.sub(lambda match: repr(match[0])[1:-1], refusal.message)
    message = message.encode("ascii", "backslashreplace").decode("ascii")[:_MAX_MESSAGE]
    return web.Response(
        status=refusal.status,
        body=json.dumps({"error": refusal.message}).encode("ascii"),
        content_type="application/json",
        headers={"X-Error-Code": refusal.code, "X-Error-Message": message, **refusal.headers},
    )


def _refusal_of(error: StoreError) -> RefusalError:
    if isinstance(error, IntegrityError | NotFoundError):
        # What was looked for by a name that a guest may give is refused earlier: here the store lacks its own.
        return RefusalError(500, "Damaged", error.message)
    if isinstance(error, UnusableStoreError):
        return RefusalError(503, "StoreUnusable", error.message)
    return RefusalError(500, "InternalError", error.message)
