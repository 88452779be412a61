"""Reading blobs: any range decodes only the chunks that it touches, and every chunk is checked as it is decoded, unless
the reader checks the whole."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future

from casstore.buffers import Buffer
from casstore.digests import Digest
from casstore.engine import Engine
from casstore.errors import DamagedError, NotFoundError
from casstore.frames import FrameKind
from casstore.recipes import Part, Recipe

_KEPT_CHUNKS = 2


class BlobReader:
    """One blob. Safe for threads; valid as long as the operation that opened it."""

    def __init__(self, engine: Engine, recipe: Recipe) -> None:
        self._engine = engine
        self._recipe = recipe
        self._kept: OrderedDict[bytes, Buffer] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """The blob's size."""
        return self._recipe.size_bytes

    @property
    def sha256(self) -> Digest:
        """The blob's name."""
        return self._recipe.sha256

    @property
    def git(self) -> Digest | None:
        """Git's id of the blob, where it was asked for or the blob is small."""
        return self._recipe.git

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes ``offset`` (not negative) to ``offset + length``; fewer only at the blob's end. Raises DamagedError."""
        stop = min(offset + length, self.size_bytes)
        return b"".join(
            _cut(self._chunk(part, keep=True), part, start, offset, stop)
            for start, part in self._recipe.parts_between(offset, stop)
        )

    def stream(
        self, start: int = 0, stop: int | None = None, ahead_bytes: int | None = None, *, check: bool = True
    ) -> Iterator[memoryview]:
        """Bytes ``start`` to ``stop`` in order, decoded ahead by the store's threads. Raises DamagedError.

        ``ahead_bytes`` is how much may be decoded before it is asked for (None: the store's setting; 0: a chunk
        at a time). Without ``check`` they may be wrong: the caller compares the whole with the blob's SHA-256, and
        if it differs calls `check`.
        """
        stop = self.size_bytes if stop is None else min(stop, self.size_bytes)
        limit = self._engine.settings.read_ahead_bytes if ahead_bytes is None else ahead_bytes
        ahead: deque[tuple[int, Part, Future[Buffer]]] = deque()
        begun_bytes = 0
        try:
            for begin, part in self._recipe.parts_between(start, stop):
                while ahead and begun_bytes + part.length > limit:
                    first, ready, future = ahead.popleft()
                    yield _cut(future.result(), ready, first, start, stop)
                    begun_bytes -= ready.length
                ahead.append((begin, part, self._engine.workers.code(self._chunk, part, check=check)))
                begun_bytes += part.length
            while ahead:
                first, ready, future = ahead.popleft()
                yield _cut(future.result(), ready, first, start, stop)
        finally:
            for _, _, future in ahead:
                future.cancel()

    def check(self) -> None:
        """Read every byte again and raise DamagedError for the first chunk that is not what it should be."""
        for _ in self.stream():
            pass

    def _chunk(self, part: Part, *, keep: bool = False, check: bool = True) -> Buffer:
        with self._lock:
            kept = self._kept.get(part.chunk)
        if kept is not None:
            return kept
        try:
            raw = self._engine.content(FrameKind.CHUNK, part.chunk, check=check)
        except NotFoundError as error:
            raise DamagedError(f"chunk {part.chunk.hex()}", "it is missing from the store") from error
        if part.offset + part.length > len(raw):
            raise DamagedError(f"chunk {part.chunk.hex()}", "the recipe wants bytes past its end")
        if keep:
            with self._lock:
                self._kept[part.chunk] = raw
                if len(self._kept) > _KEPT_CHUNKS:
                    self._kept.popitem(last=False)
        return raw


def _cut(raw: Buffer, part: Part, begin: int, start: int, stop: int) -> memoryview:
    """Of a part that begins at byte ``begin`` of the blob, the bytes between ``start`` and ``stop`` of the blob."""
    low = part.offset + max(start - begin, 0)
    high = part.offset + min(stop - begin, part.length)
    return memoryview(raw)[low:high]
