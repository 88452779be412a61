"""The connections of a server: how long one may ask nothing, and which goes when there are too many."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

FIRST_SECONDS: Final = 30.0
"""For a new connection to bring its first request."""
IDLE_SECONDS: Final = 75.0
"""For the next request on a connection."""
MAX_CONNECTIONS: Final = 500
"""At once; a process has 1024 open files by default, and downloads need some of them."""


class Guests:
    """Those who have nothing under way, the one who has waited longest first.

    When there are too many connections that one goes, so that many idle ones, or many that bring a request a byte at
    a time, do not keep others out. Works in the event loop's thread only.
    """

    def __init__(self) -> None:
        self._waiting: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}
        self._server: web.Server | None = None

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._server.connections) if self._server is not None else 0

    def connect(self, server: web.Server) -> web.RequestHandler:
        """Take a new connection in."""
        self._server = server
        guest = server()
        # The loop makes the connection before it looks at its timers again, so one refused is there to be hung up on.
        self._wait(guest, FIRST_SECONDS if self._make_room(server) else 0)
        return guest

    def asks(self, guest: asyncio.BaseProtocol) -> None:
        """A request has come, head and all."""
        timer = self._waiting.pop(guest, None)
        if timer is not None:
            timer.cancel()

    def rests(self, guest: asyncio.BaseProtocol) -> None:
        """Its answer has gone out."""
        self._wait(guest, IDLE_SECONDS)

    def close(self) -> None:
        """Wait for nobody any more."""
        for timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()

    def _wait(self, guest: asyncio.BaseProtocol, seconds: float) -> None:
        self.asks(guest)
        self._waiting[guest] = asyncio.get_running_loop().call_later(seconds, self._hang_up, guest)

    def _hang_up(self, guest: asyncio.BaseProtocol) -> None:
        self.asks(guest)
        assert isinstance(guest, web.RequestHandler)
        if guest.transport is not None:
            guest.transport.abort()  # one that reads nothing would keep a mere close waiting

    def _make_room(self, server: web.Server) -> bool:
        """Hang up on those who have waited longest; False when all are busy.

        A connection that is yet to be made is neither counted nor hung up on: aiohttp would make it all the same, and
        nobody would wait for it. A burst is let in, up to the listener's backlog, and the next guest makes up for it.
        """
        here = {guest for guest in server.connections if guest.transport and not guest.transport.is_closing()}
        too_many = max(len(here) + 1 - MAX_CONNECTIONS, 0)
        leaving = [guest for guest in self._waiting if guest in here][:too_many]
        for guest in leaving:
            self._hang_up(guest)
        return len(leaving) == too_many


GUESTS: Final = web.AppKey("guests", Guests)


def greet(request: web.Request) -> None:
    """Note that a connection has brought a request."""
    guests = request.app.get(GUESTS)
    if guests is not None:
        guests.asks(request.protocol)


def open_connections(app: web.Application) -> int:
    """How many connections there are."""
    guests = app.get(GUESTS)
    return guests.connections if guests is not None else 0


def rest(request: web.Request) -> None:
    """Note that a connection's request has been answered."""
    guests = request.app.get(GUESTS)
    if guests is not None and request.transport is not None:
        guests.rests(request.protocol)


def hang_up(request: web.Request) -> None:
    """End a connection at once: with fewer bytes than were announced, no client takes them for the whole."""
    if request.transport is not None:
        request.transport.abort()
