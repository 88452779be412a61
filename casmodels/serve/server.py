"""Listening: sockets, patience with slow guests, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from casmodels.serve.guests import GUESTS, IDLE_SECONDS, Guests
from casstore.errors import InvalidInputError

MAX_LINE_BYTES: Final = 16 * 1024
"""A path of 4096 bytes, every byte percent-encoded, fits in."""
END_SECONDS: Final = 2.0
"""For what is being sent when the end is asked for."""

_access_log = logging.getLogger("casmodels.serve.access")
_http_log = logging.getLogger("casmodels.serve.http")


def _tone_down(record: logging.LogRecord) -> bool:
    """aiohttp logs as an error, with a traceback, that a guest speaks no HTTP: that is the guest's affair."""
    if record.exc_info and record.exc_info[1] is not None:
        reason = str(record.exc_info[1]).split("\n")[0]
        record.msg, record.args, record.exc_info = f"{record.getMessage()}: {reason}", (), None
    record.levelno, record.levelname = logging.INFO, "INFO"
    return True


_http_log.addFilter(_tone_down)


def _take_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Where aiohttp itself fails on what a guest sent, before there is a request, log that as such, too."""
    if "protocol" in context or isinstance(context.get("future"), asyncio.Task):
        _http_log.error(context["message"], exc_info=context.get("exception"))
    else:
        loop.default_exception_handler(context)


def resolve_host(host: str) -> str:
    """The address to listen on. Raises InvalidInputError for a name that has none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InvalidInputError(f"{host!r} is no address of this machine") from error
    return str(min(found, key=lambda info: info[0] is not socket.AF_INET)[4][0])


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def is_loopback_name(host: str) -> bool:
    """Whether a Host header names this machine by a loopback name or address."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
    name = name.strip("[]").rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost") or is_loopback(name)


def serve_app(app: web.Application, address: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; ``on_ready`` gets the URL. Raises InvalidInputError."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(app, address, port, on_ready))


async def _serve(app: web.Application, address: str, port: int, on_ready: Callable[[str], None]) -> None:
    asyncio.get_running_loop().set_exception_handler(_take_failure)
    guests = app[GUESTS] = Guests()
    runner = web.AppRunner(
        app,
        access_log=_access_log,
        logger=_http_log,
        keepalive_timeout=IDLE_SECONDS,
        max_line_size=MAX_LINE_BYTES,
        shutdown_timeout=END_SECONDS,
    )
    await runner.setup()
    listener = None
    try:
        listener = await _listen(runner, guests, address, port)
        on_ready(_url(listener.sockets[0]))
        await _asked_to_end()
    finally:
        if listener is not None:
            listener.close()
        guests.close()
        await runner.cleanup()


async def _listen(runner: web.AppRunner, guests: Guests, address: str, port: int) -> asyncio.Server:
    server = runner.server
    assert server is not None
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(lambda: guests.connect(server), address, port, backlog=256)
    except (OSError, OverflowError) as error:
        raise InvalidInputError(
            f"cannot listen on {address} port {port}: {getattr(error, 'strerror', None) or error}",
            remedy="`--port 0` takes a free port",
        ) from error


async def _asked_to_end() -> None:
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    # Where the platform has no such handlers, Ctrl-C raises KeyboardInterrupt, which ends the loop as well.
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end.set)
    await end.wait()
    # A second Ctrl-C does not wait.
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        loop.remove_signal_handler(signal.SIGINT)


def _url(listening: socket.socket) -> str:
    address, port = listening.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
