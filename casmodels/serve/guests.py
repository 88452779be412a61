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

    def connect(self, server: web.Server) -> web.RequestHandler:
        """Take a new connection in."""
        guest = server()
        is_full = len(server.connections) >= MAX_CONNECTIONS and not self._make_room(server)
        self._wait(guest, 0 if is_full else FIRST_SECONDS)
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
        guest.force_close()

    def _make_room(self, server: web.Server) -> bool:
        """Hang up on who has waited longest; False when all are busy."""
        here = set(server.connections)
        for guest in list(self._waiting):
            self._hang_up(guest)  # also on those who have gone by themselves: nobody waits for them any more
            if guest in here:
                return True
        return False


GUESTS: Final = web.AppKey("guests", Guests)


def greet(request: web.Request) -> None:
    """Note that a connection has brought a request."""
    guests = request.app.get(GUESTS)
    if guests is not None:
        guests.asks(request.protocol)


def rest(request: web.Request) -> None:
    """Note that a connection's request has been answered."""
    guests = request.app.get(GUESTS)
    if guests is not None and request.transport is not None:
        guests.rests(request.protocol)


def hang_up(request: web.Request) -> None:
    """End a connection at once: with fewer bytes than were announced, no client takes them for the whole."""
    if request.transport is not None:
        request.transport.abort()
