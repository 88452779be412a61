"""Reading blobs: any range decodes only the chunks that it touches, and every chunk is checked as it is decoded, unless
the reader checks the whole."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from itertools import groupby
from operator import itemgetter

from casstore.buffers import Buffer
from casstore.digests import Digest
from casstore.engine import Engine
from casstore.errors import DamagedError, FalseRecipeError, NotFoundError
from casstore.frames import FrameKind
from casstore.recipes import Part, Recipe

_KEPT_CHUNKS = 2
_WAITING_CHUNKS = 64

_Place = tuple[int, memoryview]
"""Memory, and the byte of the blob that its first byte is to be."""


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

    @property
    def recipe(self) -> Digest:
        """The name of the recipe that makes it."""
        return self._recipe.digest

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
        at a time). Each chunk is checked, and all of a blob also against its SHA-256: nobody gets the last piece of one
        that has another (FalseRecipeError). Without ``check`` they may be wrong: the caller compares the whole with the
        blob's SHA-256, and if it differs calls `check`.
        """
        stop = self.size_bytes if stop is None else min(stop, self.size_bytes)
        pieces = self._decoded(start, stop, ahead_bytes, check=check)
        return self._compared(pieces) if check and start == 0 and stop == self.size_bytes else pieces

    def _compared(self, pieces: Generator[memoryview, None, None]) -> Iterator[memoryview]:
        """All pieces of the blob, but for the last where its SHA-256 is not that of all."""
        hasher = hashlib.sha256()
        left_bytes = self.size_bytes
        with contextlib.closing(pieces):
            for piece in pieces:
                hasher.update(piece)
                left_bytes -= len(piece)
                if not left_bytes:
                    self._compare(hasher.digest())
                yield piece
        if not self.size_bytes:
            self._compare(hasher.digest())

    def _compare(self, sha256: bytes) -> None:
        if sha256 != self.sha256.value:
            raise FalseRecipeError(f"blob {self.sha256.hex}", "the bytes that its recipe makes have another SHA-256")

    def _decoded(
        self, start: int, stop: int, ahead_bytes: int | None, *, check: bool
    ) -> Generator[memoryview, None, None]:
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

    def fill(self, places: Iterable[tuple[int, memoryview]]) -> None:
        """Fill writable memory, each with the blob's bytes from that offset on. Raises DamagedError.

        The store's threads decode: where one place takes all of a chunk, straight into it. A chunk that several
        touch is decoded once unless the places overlap. When this returns or raises, nothing writes there any more.
        """
        places = sorted(places, key=itemgetter(0))
        if any(offset + len(memory) > self.size_bytes for offset, memory in places):
            raise ValueError("a blob has no bytes past its end")
        pending: deque[Future[None]] = deque()
        try:
            for begin, wanted in groupby(self._touched(places), key=itemgetter(0)):
                group = list(wanted)
                if len(pending) >= _WAITING_CHUNKS:
                    pending.popleft().result()
                memory = [place for _, _, place in group]
                self._engine.foresee(FrameKind.CHUNK, group[0][1].chunk)
                pending.append(self._engine.workers.code(self._fill, begin, group[0][1], memory))
            while pending:
                pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            wait(pending)

    def pieces(self, start: int, stop: int) -> list[tuple[bytes, int, int]]:
        """What bytes ``start`` to ``stop`` are made of: chunk, offset in it, length. Equal lists mean equal bytes."""
        found = []
        for begin, part in self._recipe.parts_between(start, stop):
            low, high = max(start - begin, 0), min(stop - begin, part.length)
            found.append((part.chunk, part.offset + low, high - low))
        return found

    def check(self) -> None:
        """Read every byte again and raise DamagedError for the first chunk that is wrong, or else for the whole."""
        for _ in self.stream():
            pass

    def _touched(self, places: Iterable[_Place]) -> Iterator[tuple[int, Part, _Place]]:
        """Each part that a place touches and where it begins, in order; a part comes once for each such place."""
        for place in places:
            for begin, part in self._recipe.parts_between(place[0], place[0] + len(place[1])):
                yield begin, part, place

    def _fill(self, begin: int, part: Part, places: Sequence[_Place]) -> None:
        """Bring what the places want of a part that begins at byte ``begin`` of the blob."""
        whole = None
        if len(places) == 1 and not part.offset:
            offset, memory = places[0]
            if offset <= begin and begin + part.length <= offset + len(memory):
                whole = memory[begin - offset : begin - offset + part.length]
        raw = self._chunk(part, out=whole)
        if raw is not whole:
            for offset, memory in places:
                piece = _cut(raw, part, begin, offset, offset + len(memory))
                first = max(begin - offset, 0)
                memory[first : first + len(piece)] = piece

    def _chunk(self, part: Part, *, keep: bool = False, check: bool = True, out: memoryview | None = None) -> Buffer:
        with self._lock:
            kept = self._kept.get(part.chunk)
        if kept is not None:
            return kept
        try:
            raw = self._engine.content(FrameKind.CHUNK, part.chunk, check=check, out=out)
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
