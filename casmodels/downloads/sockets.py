"""Sockets that another thread may shut, which wakes whoever waits at them."""

from __future__ import annotations

import contextlib
import socket
import threading
from weakref import WeakSet


class Sockets:
    """The sockets that one party has open. Once shut, those that come later are shut at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: WeakSet[socket.socket] = WeakSet()
        self._is_shut = False

    def add(self, one: socket.socket) -> None:
        """Note one that is connected."""
        with self._lock:
            self._open.add(one)
            is_late = self._is_shut
        if is_late:
            _shut(one)

    def shut(self) -> None:
        """Shut all of them; what is read from one after that must not be trusted."""
        with self._lock:
            self._is_shut = True
            those = list(self._open)
        for one in those:
            _shut(one)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may have been closed meanwhile
        one.shutdown(socket.SHUT_RDWR)
