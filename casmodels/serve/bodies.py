"""Sending blobs: decoded in threads while they are sent, and never a byte that was not checked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

from aiohttp import web

from casmodels.serve.guests import hang_up
from casstore.errors import StoreError

SLICE_BYTES: Final = 256 * 1024
_MAX_AHEAD_BYTES: Final = 24 * 1024 * 1024
_CROWD: Final = 32
"""From so many bodies on, each holds one decoded chunk and decodes the next when that one is sent."""

_log = logging.getLogger(__name__)


class Body:
    """A range of a blob on its way out, with the lease that it needs.

    ``first`` is the first piece, decoded already so that damage there can be answered with an error; None for no
    bytes. The rest is decoded, and the lease let go, in worker threads, one call at a time.
    """

    def __init__(self, lease: ExitStack, first: memoryview | None, pieces: Iterator[memoryview]) -> None:
        self.first = first
        self._lease = lease
        self._pieces = pieces

    def advance(self) -> memoryview | None:
        """The next piece, None at the end. Raises DamagedError."""
        return next(self._pieces, None)

    def close(self) -> None:
        """Let go of the blob, then of the lease."""
        self._pieces = iter(())
        self._lease.close()


class Budget:
    """How much bodies may decode ahead: each a part of what is left, so that all together stay within the whole."""

    def __init__(self, whole_bytes: int) -> None:
        self._left = whole_bytes

    @contextlib.contextmanager
    def share(self) -> Iterator[int]:
        """A share, in bytes, until the block ends."""
        share = min(self._left // 4, _MAX_AHEAD_BYTES)
        self._left -= share
        try:
            yield share
        finally:
            self._left += share


class Sender:
    """Sends bodies, decoding in the threads of ``pool``."""

    def __init__(self, pool: ThreadPoolExecutor, stall_seconds: float) -> None:
        self._pool = pool
        self._stall_seconds = stall_seconds
        self._active = 0

    async def send(self, request: web.Request, response: web.StreamResponse, body: Body) -> None:
        """Send a body and close it.

        When a chunk turns out damaged, or the guest takes no more, the connection is cut: with fewer bytes than
        were announced, no client can take them for the file.
        """
        self._active += 1
        following: Future[memoryview | None] | None = None
        try:
            await response.prepare(request)
            piece, body.first = body.first, None
            while piece is not None:
                following = self._pool.submit(body.advance) if self._active < _CROWD else None
                await self._write(response, piece)
                piece = None
                following = following or self._pool.submit(body.advance)
                piece = await asyncio.wrap_future(following)
            await response.write_eof()
        except ConnectionError:
            _log.info("%s broke off: the guest went away", request.raw_path)
        except TimeoutError:
            _log.warning("%s broke off: nothing taken for %g s", request.raw_path, self._stall_seconds)
            hang_up(request)
        # Whatever it is, headers are out: an error page after them would be taken for bytes of the file.
        except Exception as error:
            _log.error("%s broke off: %s", request.raw_path, error, exc_info=not isinstance(error, StoreError))
            hang_up(request)
        finally:
            self._active -= 1
            self._close(body, following)

    async def _write(self, response: web.StreamResponse, piece: memoryview) -> None:
        for start in range(0, len(piece), SLICE_BYTES):
            async with asyncio.timeout(self._stall_seconds):
                await response.write(piece[start : start + SLICE_BYTES])

    def _close(self, body: Body, following: Future[memoryview | None] | None) -> None:
        """Close in a worker, after the decoding that may still run there."""
        if following is None:
            self._pool.submit(body.close)
        else:
            following.add_done_callback(lambda _: body.close())
