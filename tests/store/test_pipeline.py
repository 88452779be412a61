"""The pipeline: in order, bounded, and whatever goes wrong in a thread comes out at the caller."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from casstore import pipeline
from casstore.buffers import Buffer
from casstore.chunkers import ShortReadError
from casstore.chunkers.spans import Piece, Span
from casstore.digests import git_blob_digest, sha256_digest
from casstore.errors import FailedError
from casstore.pipeline import Base, BlobHashers, Budget, CodedChunk, coded_chunks
from casstore.sources import BytesSource
from casstore.testing.builders import GRID_BYTES, grid, noise, one_tensor
from casstore.workers import Workers


def no_bases(_piece: Piece, _data: Buffer) -> list[Base]:
    return []


def run(source: Any, workers: Workers, *, known: Any = lambda _: False, in_flight_bytes: int = 1 << 20) -> Any:
    hashers = BlobHashers(source.size_bytes, git=True)
    return coded_chunks(source, lambda: grid("", source), hashers, known, no_bases, workers, in_flight_bytes), hashers


@pytest.fixture
def workers() -> Any:
    workers = Workers(3)
    yield workers
    workers.close()


def test_chunks_come_in_order_and_the_hashers_have_seen_all(workers: Workers) -> None:
    data = noise(1, 20 * GRID_BYTES + 77)
    chunks, hashers = run(BytesSource(data), workers)
    pieces = [chunk.piece for chunk in chunks]
    assert [piece.offset for piece in pieces] == [number * GRID_BYTES for number in range(21)]
    assert sum(piece.length for piece in pieces) == len(data)
    assert hashers.sha256 == sha256_digest(data)
    assert hashers.git == git_blob_digest(data)


def test_no_git_id_for_large_blobs_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "GIT_LIMIT_BYTES", 10)
    assert BlobHashers(11, git=False).git is None
    assert BlobHashers(10, git=False).git is not None
    assert BlobHashers(11, git=True).git is not None


def test_known_chunks_are_not_encoded(workers: Workers) -> None:
    chunks, _ = run(BytesSource(noise(1, 3 * GRID_BYTES)), workers, known=lambda _: True)
    assert [chunk.frame for chunk in chunks] == [None] * 3


class Watched(BytesSource):
    """Remembers how far it was read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.read_to = 0
        self.reading = 0

    def read_at(self, offset: int, length: int) -> bytes:
        self.reading += 1
        time.sleep(0.001)
        data = super().read_at(offset, length)
        self.read_to = max(self.read_to, offset + length)
        self.reading -= 1
        return data


def test_the_reader_does_not_run_ahead(workers: Workers) -> None:
    source = Watched(noise(1, 40 * GRID_BYTES))
    chunks, _ = run(source, workers, in_flight_bytes=4 * GRID_BYTES)
    for number, _chunk in enumerate(chunks):
        time.sleep(0.001)
        # What is in flight, and the piece that waits to be let in.
        assert source.read_to <= (number + 1 + 4 + 1) * GRID_BYTES
    assert source.read_to == 40 * GRID_BYTES


def test_closing_early_waits_for_the_reader(workers: Workers) -> None:
    source = Watched(noise(1, 200 * GRID_BYTES))
    chunks, _ = run(source, workers, in_flight_bytes=2 * GRID_BYTES)
    next(chunks)
    chunks.close()
    read_to = source.read_to
    assert source.reading == 0
    time.sleep(0.02)
    assert source.read_to == read_to < 100 * GRID_BYTES
    again, _ = run(BytesSource(b"x"), workers)
    assert len(list(again)) == 1


def test_errors_of_every_thread_come_out(workers: Workers) -> None:
    class Short(BytesSource):
        @property
        def size_bytes(self) -> int:
            return super().size_bytes + 1

    chunks, _ = run(Short(noise(1, 3 * GRID_BYTES)), workers)
    with pytest.raises(ShortReadError):
        list(chunks)

    def fail(_digest: bytes) -> bool:
        raise LookupError("known")

    chunks, _ = run(BytesSource(noise(1, 3 * GRID_BYTES)), workers, known=fail)
    with pytest.raises(LookupError):
        list(chunks)

    def no_spans() -> Sequence[Span]:
        raise LookupError("spans")

    source = BytesSource(b"x")
    with pytest.raises(LookupError):
        list(coded_chunks(source, no_spans, BlobHashers(1, git=False), lambda _: False, no_bases, workers, 100))


def test_closing_the_workers_ends_who_waits_for_them() -> None:
    workers = Workers(1)
    block = threading.Event()
    workers.in_order("reader", block.wait, 10)  # somebody else's file is being read
    caught: list[BaseException] = []

    def consume() -> None:
        chunks, _ = run(BytesSource(noise(1, 3 * GRID_BYTES)), workers)
        try:
            list(chunks)
        except FailedError as error:
            caught.append(error)

    thread = threading.Thread(target=consume)
    thread.start()
    time.sleep(0.02)
    closing = threading.Thread(target=workers.close)
    closing.start()
    time.sleep(0.02)
    block.set()
    thread.join(10)
    closing.join(10)
    assert not thread.is_alive()
    assert len(caught) == 1


def test_the_budget_lets_one_piece_through_whatever_its_size() -> None:
    budget = Budget(10)
    assert budget.take(1000)
    waiting = threading.Thread(target=lambda: results.append(budget.take(1)))
    results: list[bool] = []
    waiting.start()
    time.sleep(0.01)
    assert results == []
    budget.give(1000)
    waiting.join(10)
    assert results == [True]
    with contextlib.suppress(Exception):
        budget.close()
    assert budget.take(5) is False


def test_a_chunk_that_is_small_by_itself_is_stored_whole_whatever_it_is_like(workers: Workers) -> None:
    data = bytes(3) + b"\x3f" + bytes(4 * 49_999)
    base = Base(bytes(32), noise(1, len(data)), 0)

    def coded(data: bytes) -> list[CodedChunk]:
        hashers = BlobHashers(len(data), git=False)
        source = BytesSource(data)
        spans = one_tensor("w.4", source)
        return list(coded_chunks(source, lambda: spans, hashers, lambda _: False, lambda *_: [base], workers, 1 << 20))

    (chunk,) = coded(data)
    assert chunk.frame is not None
    assert chunk.frame.header.base == b""
    (copy,) = coded(bytes(base.raw))
    assert copy.frame is not None
    assert copy.frame.header.base == base.digest
