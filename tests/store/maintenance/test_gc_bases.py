"""gc and compact beside writers of deltas: a base that somebody has chosen is there when the delta counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from casstore.digests import blake3_digest
from casstore.engine import Settings
from casstore.errors import BusyError
from casstore.frames import FrameKind
from casstore.maintenance import gc
from casstore.maintenance.compact import compact
from casstore.maintenance.verify import check
from casstore.store import Store
from casstore.testing.builders import all_contents, one_tensor, put, remove, stage

BASE = np.random.default_rng(1).normal(0, 0.05, 5000).astype("<f4")


def near(words: np.ndarray, seed: int) -> np.ndarray:
    """The same model, a little further trained."""
    return (words + np.random.default_rng(seed).normal(0, 1e-5, words.size)).astype("<f4")


TUNED = near(BASE, 2)
LATER = near(TUNED, 3)


@pytest.fixture
def store(root: Path) -> Iterator[Store]:
    """A store whose packs are full after each tensor."""
    settings = Settings(pack_bytes=1000)
    with Store.open(root, create=True, finder=one_tensor, workers=1, settings=settings) as store:
        yield store


def files(words: np.ndarray) -> dict[str, bytes]:
    return {"w.4": words.tobytes()}


def base_of(store: Store, words: np.ndarray) -> bytes | None:
    row = store.engine.ledger.rows.frame(FrameKind.CHUNK, blake3_digest(words.tobytes()).value)
    assert row is not None
    return row.base


def assert_whole(store: Store, *expected: np.ndarray) -> None:
    assert sorted(found["w.4"] for found in all_contents(store).values()) == sorted(
        words.tobytes() for words in expected
    )
    with store.reading():
        checked = check(store.engine, data=True)
    assert (checked.findings, checked.broken) == ((), {})


def condemn(store: Store) -> None:
    """Run a gc that finds the caller's lease and gives up."""
    with pytest.raises(BusyError):
        gc.collect(store.engine, wait_seconds=0)


def between_chunk_and_recipe(store: Store, path: Path, words: np.ndarray, meanwhile: Callable[[], None]) -> None:
    """Put a file in, do something once its chunk is encoded and written, and die when it was entered."""
    path.write_bytes(words.tobytes())
    with store.writing() as transaction:

        def progress(_more: int) -> None:
            meanwhile()
            transaction._sealing[0].result()  # so that the recipe's pack does not begin before this one is entered

        transaction.add_file(path, progress=progress)


def test_a_writer_whose_base_was_condemned_has_it_at_its_commit(store: Store) -> None:
    old = put(store, "old", files(BASE))
    with store.writing() as transaction:
        stage(transaction, "new", files(TUNED))
        remove(store, "old", old)
        condemn(store)
        transaction.commit()
    assert base_of(store, TUNED) is not None
    gc.collect(store.engine)
    assert_whole(store, TUNED)


def test_a_delta_entered_on_the_way_has_its_base(store: Store, tmp_path: Path) -> None:
    """It counts as soon as its pack is full. Its writer had chosen the base before a condemn, and dies; whoever finds
    the delta meanwhile, and is not waited for, must find the base too."""
    remove(store, "old", put(store, "old", files(BASE)))
    between_chunk_and_recipe(store, tmp_path / "w.4", TUNED, lambda: condemn(store))
    assert base_of(store, TUNED) is not None
    with store.writing() as transaction:
        stage(transaction, "new", files(TUNED))
        condemn(store)  # finishes the first, and finds this lease
        transaction.commit()
    assert_whole(store, TUNED)
    gc.collect(store.engine)
    assert_whole(store, TUNED)


def test_a_base_that_compact_makes_a_delta_while_another_is_stored_against_it(store: Store) -> None:
    with Store.open(store.path, finder=one_tensor, workers=1, settings=Settings(deltas=False)) as whole:
        put(whole, "base", files(BASE))
        put(whole, "tuned", files(TUNED))
    # In one pack, as a full one may count before the commit: then the chunk that it stands on stays whole.
    with Store.open(store.path, finder=one_tensor, workers=1) as writer, writer.writing() as transaction:
        stage(transaction, "later", files(LATER))
        assert compact(store.engine).deltas == 1
        transaction.commit()
    assert base_of(store, LATER) == blake3_digest(TUNED.tobytes()).value
    assert base_of(store, TUNED) == blake3_digest(BASE.tobytes()).value
    assert_whole(store, BASE, TUNED, LATER)
    compact(store.engine)
    gc.collect(store.engine)
    assert_whole(store, BASE, TUNED, LATER)
