"""`Store.open`: a file like any other, that reads only what is asked for and holds its lease."""

from __future__ import annotations

import io
import pickle
import random
import threading
from collections.abc import Callable

import numpy as np
import pytest

from casmodels.library import Store
from casstore.engine import Engine
from casstore.errors import DamagedError, NotFoundError
from casstore.leases import open_leases
from tests.forks import ended_well, in_child
from tests.models.reading.damage import flip_packs
from tests.models.reading.weights import normal, safetensors_of

WEIGHTS = safetensors_of({"a": normal(3 << 19), "b": normal(1 << 19, seed=2)})
FILES = {"model.safetensors": WEIGHTS, "sub/config.json": b'{"a": 1}\n'}
Saver = Callable[..., str]


def leases(store: Store) -> int:
    return len(open_leases(store.directory / "leases"))


def test_any_range_is_the_range_of_the_bytes(store: Store, saved: Saver) -> None:
    saved(FILES)
    chance = random.Random(3)
    with store.open("mine", "model.safetensors") as file, io.BytesIO(WEIGHTS) as expected:
        assert (file.readable(), file.seekable(), file.writable(), file.mode) == (True, True, False, "rb")
        for _ in range(60):
            offset, whence = chance.choice([(chance.randrange(len(WEIGHTS) + 9), 0), (-chance.randrange(9), 2)])
            assert file.seek(offset, whence) == expected.seek(offset, whence)
            length = chance.choice([0, 1, 100, 70_000, 1 << 20, -1])
            assert file.read(length) == expected.read(length)
            assert file.tell() == expected.tell()


def test_what_cannot_be_done_is_refused(store: Store, saved: Saver) -> None:
    saved(FILES)
    file = store.open("mine", "sub/config.json")
    with pytest.raises(ValueError, match="before its start"):
        file.raw.seek(-1)
    with pytest.raises(ValueError, match="no place"):
        file.raw.seek(0, 9)
    with pytest.raises(io.UnsupportedOperation):
        file.write(b"x")
    with pytest.raises(TypeError):
        pickle.dumps(file.raw)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read()
    for target, path in (("mine", "none"), ("mine", "sub"), ("nobody", "x"), ("mine@none", "x")):
        with pytest.raises(NotFoundError):
            store.open(target, path)


def test_only_the_chunks_touched_are_decoded(store: Store, saved: Saver, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(FILES)
    decoded = []
    content = Engine.content

    def counted(self: Engine, kind: object, digest: bytes, **options: object) -> object:
        decoded.append(digest)
        return content(self, kind, digest, **options)  # type: ignore[arg-type]

    with store.open("mine", "model.safetensors") as file:
        monkeypatch.setattr(Engine, "content", counted)
        file.seek(3 << 20)
        assert file.read(1000) == WEIGHTS[3 << 20 : (3 << 20) + 1000]
        assert len(decoded) == 1


def test_the_lease_lasts_until_the_file_is_closed(store: Store, saved: Saver) -> None:
    version = saved(FILES)
    saved({"model.safetensors": b"other"})
    file = store.open(f"mine@{version[:12]}", "model.safetensors")
    assert leases(store) == 1
    file.close()
    file.close()
    assert leases(store) == 0
    with store.open("mine", "model.safetensors"):
        assert leases(store) == 1
    store.open("mine", "model.safetensors")  # dropped
    assert leases(store) == 0


def test_closing_the_store_closes_its_files(store: Store, saved: Saver) -> None:
    saved(FILES)
    file = store.open("mine", "model.safetensors")
    store.close()
    with pytest.raises(ValueError, match="closed"):
        file.read()
    assert leases(store) == 0


def test_damage_is_an_error_and_never_output(store: Store, saved: Saver) -> None:
    saved(FILES)
    flip_packs(store)
    with store.open("mine", "model.safetensors") as file, pytest.raises(DamagedError, match=r"chunk [0-9a-f]{64}"):
        file.read()


def test_a_forked_child_goes_on_reading_and_leaves_the_lease_to_its_parent(store: Store, saved: Saver) -> None:
    saved(FILES)
    with store.open("mine", "model.safetensors") as file:
        file.seek(1000)

        def child() -> None:
            assert file.read(1 << 20) == WEIGHTS[1000 : 1000 + (1 << 20)]
            file.close()

        assert ended_well(in_child(child))
        assert leases(store) == 1
        assert file.read(5) == WEIGHTS[1000:1005]


def test_threads_may_share_one(store: Store, saved: Saver) -> None:
    saved(FILES)
    found: list[bytes] = []
    with store.open("mine", "model.safetensors") as file:
        readers = [threading.Thread(target=lambda: found.append(file.read(1 << 20))) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert sorted(found) == sorted(WEIGHTS[start : start + (1 << 20)] for start in range(0, 4 << 20, 1 << 20))


def test_numpy_reads_from_it(store: Store, saved: Saver) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(1000))
    saved({"a.npy": buffer.getvalue()})
    with store.open("mine", "a.npy") as file:
        assert np.array_equal(np.load(file), np.arange(1000))
