"""Blobs: any range is the range of the bytes; damage is an error, never output."""

from __future__ import annotations

import errno
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

import pytest

from casstore.blobs import BlobReader
from casstore.catalog import Reader
from casstore.digests import sha256_digest
from casstore.engine import Settings
from casstore.errors import DamagedError, FailedError, FalseRecipeError, NotFoundError, TooManyFilesError
from casstore.frames import HEADER_BYTES, FrameKind
from casstore.index.rows import FrameRow
from casstore.packs import pack_path
from casstore.store import Store
from casstore.testing.builders import GRID_BYTES, grid, noise, put

Opener = Callable[..., Store]
DATA = noise(1, 3 * GRID_BYTES) + bytes(2 * GRID_BYTES) + noise(1, GRID_BYTES) + b"the end"


def blob(reader: Reader, data: bytes = DATA) -> BlobReader:
    return reader.open_blob(sha256_digest(data))


def row_of(store: Store, number: int, data: bytes = DATA) -> FrameRow:
    """Where the chunk of that number of a blob lies."""
    with store.reading() as reader:
        info = reader.find_blob(sha256_digest(data))
        assert info is not None
        row = store.engine.ledger.rows.frame(FrameKind.CHUNK, reader.recipe(info.recipe).parts[number].chunk)
    assert row is not None
    return row


def overwrite(store: Store, row: FrameRow, place: int, data: bytes) -> None:
    with pack_path(store.layout.packs, row.pack).open("r+b") as file:
        file.seek(row.offset + place)
        file.write(data)


def test_random_ranges(small_packs: Store) -> None:
    put(small_packs, "a", {"a": DATA})
    chance = random.Random(1)
    with small_packs.reading() as reader:
        opened = blob(reader)
        assert opened.size_bytes == len(DATA)
        assert opened.sha256 == sha256_digest(DATA)
        for _ in range(150):
            start = chance.randrange(len(DATA) + 10)
            length = chance.choice([0, 1, 10, GRID_BYTES, 3 * GRID_BYTES, len(DATA)])
            assert opened.read_at(start, length) == DATA[start : start + length]
            assert b"".join(opened.stream(start, start + length)) == DATA[start : start + length]
        assert b"".join(opened.stream()) == b"".join(opened.stream(ahead_bytes=0)) == DATA
        assert b"".join(opened.stream(5)) == DATA[5:]


def test_the_empty_blob(store: Store) -> None:
    put(store, "a", {"a": b""})
    with store.reading() as reader:
        assert blob(reader, b"").read_at(0, 10) == b""
        assert list(blob(reader, b"").stream()) == []


def test_nothing_before_the_start(store: Store) -> None:
    put(store, "a", {"a": DATA})
    with store.reading() as reader, pytest.raises(ValueError, match="before"):
        blob(reader).read_at(-1, 5)


def test_only_the_chunks_touched_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "a", {"a": DATA})
    with store.reading() as reader:
        opened = blob(reader)
        reads = []
        real = store.engine.packs.read
        monkeypatch.setattr(store.engine.packs, "read", lambda *where: reads.append(where) or real(*where))
        assert opened.read_at(GRID_BYTES + 10, 10) == DATA[GRID_BYTES + 10 : GRID_BYTES + 20]
        assert len(reads) == 1
        opened.read_at(GRID_BYTES + 50, 10)  # the chunk is kept
        assert len(reads) == 1
        list(opened.stream(2 * GRID_BYTES, 2 * GRID_BYTES + 1))
        assert len(reads) == 2


def test_decoding_ahead_is_bounded_and_stops_when_nobody_reads_on(root: Path) -> None:
    begun = []
    settings = Settings(read_ahead_bytes=4 * GRID_BYTES)
    with Store.open(root, create=True, finder=grid, workers=2, settings=settings) as store:
        data = noise(3, 50 * GRID_BYTES)
        put(store, "a", {"a": data})
        real = store.engine.packs.read
        with store.reading() as reader:
            opened = blob(reader, data)
            store.engine.packs.read = lambda *where: begun.append(where) or real(*where)  # type: ignore[method-assign]
            stream = opened.stream()
            for number in range(5):
                next(stream)
                assert len(begun) <= number + 6
            stream.close()
            assert len(begun) <= 11


def test_many_threads_read_one_blob(small_packs: Store) -> None:
    put(small_packs, "a", {"a": DATA})
    wrong = []
    with small_packs.reading() as reader:
        opened = blob(reader)

        def read(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(50):
                start = chance.randrange(len(DATA))
                if opened.read_at(start, 5000) != DATA[start : start + 5000]:
                    wrong.append(start)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize("place", [0, 4, 8, 12, 25, HEADER_BYTES, HEADER_BYTES + 100])
def test_damage_is_named_and_never_output(store: Store, place: int) -> None:
    put(store, "a", {"a": DATA})
    row = row_of(store, 1)
    overwrite(store, row, place, b"\xa5\x5a\xa5")
    with store.reading() as reader:
        opened = blob(reader)
        with pytest.raises(DamagedError, match=row.digest.hex()):
            opened.read_at(GRID_BYTES, 1)
        got = []
        with pytest.raises(DamagedError, match=row.digest.hex()):
            got.extend(bytes(piece) for piece in opened.stream())
        assert b"".join(got) == DATA[:GRID_BYTES]
        assert opened.read_at(0, GRID_BYTES) == DATA[:GRID_BYTES]
        assert opened.read_at(2 * GRID_BYTES, 10) == DATA[2 * GRID_BYTES : 2 * GRID_BYTES + 10]


def test_a_frame_in_anothers_place_is_damage(store: Store) -> None:
    put(store, "a", {"a": DATA})
    one, other = row_of(store, 1), row_of(store, 2)
    pack = pack_path(store.layout.packs, other.pack).read_bytes()
    overwrite(store, one, 0, pack[other.offset : other.offset + other.length])
    with store.reading() as reader, pytest.raises(DamagedError, match="another frame"):
        blob(reader).read_at(GRID_BYTES, 1)


def test_a_pack_cut_short_or_gone_is_damage(store: Store, opened: Opener) -> None:
    put(store, "a", {"a": DATA})
    row = row_of(store, 1)
    path = pack_path(store.layout.packs, row.pack)
    data = path.read_bytes()
    path.write_bytes(data[: row.offset + 10])
    with opened().reading() as reader, pytest.raises(DamagedError):
        blob(reader)
    path.write_bytes(data)
    with opened() as other, other.reading() as reader:
        there = blob(reader)
        path.unlink()
        other.engine.packs.close()
        with pytest.raises(DamagedError, match="missing"):
            there.read_at(0, 1)


def test_a_disk_that_fails_is_damage_and_other_failures_are_not(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "a", {"a": DATA})
    number = errno.EIO

    def fail(*_where: object) -> bytes:
        raise OSError(number, "it fails")

    with store.reading() as reader:
        there = blob(reader)
        monkeypatch.setattr(store.engine.packs, "read", fail)
        with pytest.raises(DamagedError, match="it fails"):
            there.read_at(0, 1)
        number = errno.EMFILE
        with pytest.raises(TooManyFilesError, match="too many files"):
            there.read_at(0, 1)
        number = errno.EINVAL
        with pytest.raises(FailedError, match="it fails"):
            there.read_at(0, 1)


def test_unknown_blobs(store: Store) -> None:
    with store.reading() as reader, pytest.raises(NotFoundError):
        blob(reader)


def test_without_checking_wrong_bytes_pass_and_check_names_the_chunk(store: Store) -> None:
    put(store, "a", {"a": DATA})
    row = row_of(store, 1)
    overwrite(store, row, HEADER_BYTES + 10, b"\xa5")
    with store.reading() as reader:
        opened = blob(reader)
        got = b"".join(opened.stream(check=False))
        assert len(got) == len(DATA)
        assert got != DATA
        with pytest.raises(DamagedError, match=row.digest.hex()):
            opened.check()


@pytest.mark.parametrize("data", [DATA, b"one chunk"])
def test_nobody_gets_the_end_of_a_blob_of_another_sha256(store: Store, data: bytes) -> None:
    put(store, "a", {"a": data})
    with store.writing() as transaction:
        info = transaction.find_blob(sha256_digest(data))
        assert info is not None
        lie = replace(transaction.recipe(info.recipe), sha256=sha256_digest(b"other"), git=None)
        transaction.add_recipe(lie)
        transaction.commit()
    with store.reading() as reader:
        opened = reader.open_blob(lie.sha256)
        got = bytearray()
        with pytest.raises(FalseRecipeError, match="another SHA-256"):
            got.extend(chain.from_iterable(opened.stream()))
        assert data.startswith(got)
        assert len(got) < len(data)
        with pytest.raises(FalseRecipeError):
            opened.check()
        assert b"".join(opened.stream(check=False)) == data
        assert b"".join(opened.stream(0, len(data) // 2)) == data[: len(data) // 2]  # of a part nobody can tell


def test_memory_is_filled_from_anywhere(small_packs: Store) -> None:
    put(small_packs, "a", {"a": DATA})
    chance = random.Random(2)
    with small_packs.reading() as reader:
        opened = blob(reader)
        for _ in range(60):
            cuts = sorted(chance.randrange(len(DATA) + 1) for _ in range(chance.choice([2, 3, 8])))
            places = [(start, bytearray(stop - start)) for start, stop in pairwise(cuts)]
            places.append((GRID_BYTES, bytearray(GRID_BYTES)))  # one that others touch, too
            chance.shuffle(places)
            opened.fill((offset, memoryview(memory)) for offset, memory in places)
            for offset, memory in places:
                assert memory == DATA[offset : offset + len(memory)]
        with pytest.raises(ValueError, match="past its end"):
            opened.fill([(1, memoryview(bytearray(len(DATA))))])


def test_nothing_writes_to_memory_after_damage(store: Store) -> None:
    put(store, "a", {"a": DATA})
    overwrite(store, row_of(store, 1), HEADER_BYTES + 5, b"\xff\xff")
    memory = bytearray(len(DATA))
    with store.reading() as reader, pytest.raises(DamagedError, match="chunk"):
        blob(reader).fill([(0, memoryview(memory))])
    after = bytes(memory)
    time.sleep(0.05)
    assert memory == after


def test_equal_pieces_are_equal_bytes(store: Store) -> None:
    put(store, "a", {"a": DATA})
    with store.reading() as reader:
        opened = blob(reader)
        assert sum(length for _, _, length in opened.pieces(10, len(DATA))) == len(DATA) - 10
        assert opened.pieces(0, 100) == opened.pieces(5 * GRID_BYTES, 5 * GRID_BYTES + 100)  # DATA repeats itself
        assert opened.pieces(0, 100) != opened.pieces(1, 101)
