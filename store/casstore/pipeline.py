"""The pipeline from a source to encoded chunks: read and cut, hash, look up, encode. Memory does not grow with the
file.

One thread reads and cuts, one feeds the blob's hashers (their order matters), the coders hash and encode chunks; the
caller takes the results in order. The bytes in flight are bounded, so that a slow disk or coder holds the reader back.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3

from casstore import codecs
from casstore.buffers import Buffer
from casstore.chunkers import cut
from casstore.chunkers.spans import Piece, RandomAccess, Span
from casstore.digests import GIT_BLOB, SHA256, Digest, git_blob_hasher
from casstore.errors import FailedError
from casstore.frames import Frame, FrameHeader, FrameKind, chunk_hint
from casstore.workers import Workers

GIT_LIMIT_BYTES = 16 << 20
"""Larger blobs get no git id unless it is asked for: the Hub keeps only small files in git (10 MB at most)."""


class Known(Protocol):
    """Says whether a chunk of that digest need not be encoded."""

    def __call__(self, digest: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class Base:
    """A chunk that another may be stored against: its digest, its bytes, the cast that makes them alike, whether
    nothing but that cast may be, and what share of it is left as it is stored, or 0."""

    digest: bytes
    raw: Buffer
    cast: int
    must_be_exact: bool = False
    stored_share: float = 0.0


class BaseFinder(Protocol):
    """Gives the bases that a tensor's chunk had better be stored against, best first."""

    def __call__(self, piece: Piece, data: Buffer) -> Iterable[Base]: ...


@dataclass(frozen=True, slots=True)
class CodedChunk:
    """One chunk in its blob's order; ``frame`` is None when the store has it already."""

    piece: Piece
    digest: bytes
    frame: Frame | None


class BlobHashers:
    """The running digests of a whole blob."""

    def __init__(self, size_bytes: int, *, git: bool) -> None:
        self._sha256 = hashlib.sha256()
        self._git = git_blob_hasher(size_bytes) if git or size_bytes <= GIT_LIMIT_BYTES else None

    def update(self, data: Buffer) -> None:
        """The next bytes."""
        self._sha256.update(data)
        if self._git is not None:
            self._git.update(data)

    @property
    def sha256(self) -> Digest:
        """The SHA-256 so far."""
        return Digest(SHA256, self._sha256.digest())

    @property
    def git(self) -> Digest | None:
        """Git's id of the blob, if it was asked for or the blob is small."""
        return Digest(GIT_BLOB, self._git.digest()) if self._git is not None else None


_Batch = list[tuple[Piece, Buffer]]

_BATCH_BYTES = 2 << 20
"""Pieces go to the threads in batches of this size or more: to hand one over costs as much as to hash 100 KB."""
_FEWEST_IN_FLIGHT = 8

_SURELY_PAYS = 0.05
"""A delta that leaves so little is kept without a look at what would be left otherwise."""

_DELTA_PAYS = 0.9
"""A delta is kept where it leaves at most this share of what would be left of the chunk by itself: whoever reads it has
to read its base, too."""


@dataclass(frozen=True, slots=True)
class _Flight:
    chunks: Future[list[CodedChunk]]
    hashed: Future[None]
    length: int


class Budget:
    """So many bytes may be in flight; one piece is always let through."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._closed = False
        self._changed = threading.Condition()

    def take(self, length: int) -> bool:
        """Wait until there is room; False when the budget was closed meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._used or self._used + length <= self._limit)
            self._used += length
            return not self._closed

    def give(self, length: int) -> None:
        """Room is free again."""
        with self._changed:
            self._used -= length
            self._changed.notify_all()

    def close(self) -> None:
        """Let everybody go who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def coded_chunks(
    source: RandomAccess,
    spans: Callable[[], Sequence[Span]],
    hashers: BlobHashers,
    known: Known,
    bases_for: BaseFinder,
    workers: Workers,
    in_flight_bytes: int,
) -> Generator[CodedChunk, None, None]:
    """The chunks of a source, in order; when it ends, ``hashers`` have seen every byte.

    ``spans`` is called in the reading thread. Whatever goes wrong in a thread is raised here. Close it before the
    source when it is not run to its end.
    """
    budget = Budget(in_flight_bytes)
    flights: queue.SimpleQueue[_Flight | None] = queue.SimpleQueue()

    def read() -> None:
        for batch in _batches(cut(source, spans()), min(_BATCH_BYTES, in_flight_bytes // _FEWEST_IN_FLIGHT)):
            length = sum(piece.length for piece, _ in batch)
            if not budget.take(length):
                return
            hashed = workers.in_order("hasher", _hash, hashers, batch)
            flights.put(_Flight(workers.code(_code, batch, known, bases_for), hashed, length))

    reading = workers.in_order("reader", read)
    reading.add_done_callback(lambda _: flights.put(None))  # also when it is cancelled before it began
    try:
        while (flight := flights.get()) is not None:
            chunks = flight.chunks.result()
            flight.hashed.result()
            yield from chunks
            del chunks
            budget.give(flight.length)
        reading.result()
    except CancelledError as error:
        raise FailedError("the store was closed while it was being used") from error
    finally:
        budget.close()
        _drain(reading, flights)


def _batches(pieces: Iterable[tuple[Piece, Buffer]], batch_bytes: int) -> Iterator[_Batch]:
    batch: _Batch = []
    length = 0
    for piece, data in pieces:
        batch.append((piece, data))
        length += piece.length
        if length >= batch_bytes:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _hash(hashers: BlobHashers, batch: _Batch) -> None:
    for _, data in batch:
        hashers.update(data)


def _code(batch: _Batch, known: Known, bases_for: BaseFinder) -> list[CodedChunk]:
    return [_code_piece(piece, data, known, bases_for) for piece, data in batch]


def _code_piece(piece: Piece, data: Buffer, known: Known, bases_for: BaseFinder) -> CodedChunk:
    digest = blake3(data).digest()
    if known(digest):
        return CodedChunk(piece, digest, None)
    if piece.key:
        for base in bases_for(piece, data):
            frame = frame_against(piece, data, digest, base)
            if frame is not None and _pays(frame, piece, data, base):
                return CodedChunk(piece, digest, frame)
    return CodedChunk(piece, digest, _whole_frame(piece, data, digest))


def frame_against(piece: Piece, data: Buffer, digest: bytes, base: Base) -> Frame | None:
    """A chunk's frame against a base, however long; None where only the base's cast would do and it is not that."""
    coded = codecs.encode_against(data, piece.item_width, base.raw, base.cast, must_be_exact=base.must_be_exact)
    if coded is None:
        return None
    codec, payload = coded
    # Nothing is stored against a cast: it would as well be stored against what it was cast from.
    hint = _hint(piece, data) if codec is codecs.Codec.DELTA else b""
    header = FrameHeader(
        FrameKind.CHUNK, digest, codec, piece.length, len(payload), base=base.digest, cast=base.cast, hint=hint
    )
    return Frame.of(header, payload)


def _pays(frame: Frame, piece: Piece, data: Buffer, base: Base) -> bool:
    share = frame.header.stored_length / piece.length
    # Of the base at least as much is left as of the chunk without what sets the two apart.
    if share <= max(_SURELY_PAYS, _DELTA_PAYS * (base.stored_share - share)):
        return True
    return share <= _DELTA_PAYS * codecs.expected_share(data, piece.item_width)


def _whole_frame(piece: Piece, data: Buffer, digest: bytes) -> Frame:
    codec, payload = codecs.encode(data, piece.item_width)
    hint = _hint(piece, data) if piece.key else b""
    header = FrameHeader(FrameKind.CHUNK, digest, codec, piece.length, len(payload), hint=hint)
    return Frame.of(header, payload)


def _hint(piece: Piece, data: Buffer) -> bytes:
    from casstore.similarity import sketch  # it loads NumPy

    return chunk_hint(piece.item_width, piece.key, sketch(data, piece.item_width))


def _drain(reading: Future[None], flights: queue.SimpleQueue[_Flight | None]) -> None:
    """Wait for the reader to end, so that nobody reads from a source that its owner then closes."""
    if not reading.done() or not flights.empty():
        try:
            reading.exception()
        except CancelledError:
            return
        while not flights.empty():
            flight = flights.get()
            if flight is not None:
                flight.chunks.cancel()
                flight.hashed.cancel()
