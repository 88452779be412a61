"""What is being put in was made from these versions, as whoever puts it in knows: their chunks are the first bases to
try."""

from __future__ import annotations

import threading
from typing import Final

from casstore.closure import closure
from casstore.digests import Digest
from casstore.engine import Engine
from casstore.errors import StoreError
from casstore.frames import FrameKind
from casstore.index.rows import Candidate

_MOST_OF_A_KEY: Final = 4096


class Lineage:
    """The chunks of some versions. Safe for threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._versions: list[Digest] = []
        self._chunks: set[bytes] = set()
        self._lock = threading.Lock()

    def add(self, version: Digest) -> None:
        """One more version; it is read when it is needed first, and one that cannot be read has no chunks."""
        with self._lock:
            self._versions.append(version)

    def candidates(self, key: bytes) -> list[Candidate]:
        """The versions' chunks of that similarity key."""
        chunks = self._known_chunks()
        if not chunks:
            return []
        return [found for found in self._engine.ledger.rows.similar(key, _MOST_OF_A_KEY) if found.digest in chunks]

    def _known_chunks(self) -> set[bytes]:
        with self._lock:
            while self._versions:
                version = self._versions.pop()
                try:
                    needed = list(closure(self._engine, FrameKind.VERSION, version))
                except StoreError:
                    continue  # it only costs space
                self._chunks.update(digest for kind, digest in needed if kind is FrameKind.CHUNK)
            return self._chunks
