"""Tables of frequencies: they code what was counted, and neighbours share them where that is cheaper."""

from __future__ import annotations

import numpy as np
import pytest

from casstore.kernels.coder import SCALE_BITS, entries_of, slots_of
from casstore.kernels.compiled import DELTAS
from casstore.kernels.tables import MAX_TABLES, Counts, merge, scaled, tables_for


def counted(seed: int, contexts: int, symbols: int) -> Counts:
    """Of contexts that grow alike and less alike."""
    random = np.random.default_rng(seed)
    means = np.abs(np.cumsum(random.normal(0, 0.4, contexts))) + 0.1
    counts = np.zeros((contexts, symbols), np.int64)
    for row, mean in zip(counts, means, strict=True):
        drawn = random.poisson(mean, int(random.integers(0, 3000)))
        row += np.bincount(np.minimum(drawn, symbols - 1), minlength=symbols)
    return counts


@pytest.mark.parametrize("seed", range(8))
def test_both_engines_choose_the_same_tables(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    counts = counted(seed, (1, 2, 5, 30, 100, 300, 512, 512)[seed], (3, 20, 40, 63, 127, 31, 255, 40)[seed])
    rows = counts[counts.any(axis=1)]
    monkeypatch.setattr(DELTAS, "pays_after_bytes", 0)
    fast = merge(rows)
    monkeypatch.setattr(DELTAS, "pays_after_bytes", 1 << 62)
    assert (merge(rows) == fast).all()
    assert 1 <= fast.sum() <= MAX_TABLES
    assert fast[-1] == 1


def test_there_are_never_too_many_tables() -> None:
    counts = np.eye(512, 255, dtype=np.int64)[:, ::-1] * 100_000
    counts[255:, :] = np.eye(257, 255, dtype=np.int64) * 100_000
    tables = tables_for(counts)
    assert len(tables.frequencies) == MAX_TABLES
    assert int(tables.table_of.max()) == MAX_TABLES - 1


def test_every_symbol_counted_has_a_place_in_its_contexts_table() -> None:
    counts = counted(3, 512, 60)
    tables = tables_for(counts)
    contexts, symbols = np.nonzero(counts)
    assert (tables.frequencies[tables.table_of[contexts], symbols] > 0).all()
    assert (tables.frequencies.sum(axis=1) == 1 << SCALE_BITS).all()
    assert (np.diff(tables.table_of.astype(int)) >= 0).all()


def test_contexts_that_are_alike_share_a_table_and_others_do_not() -> None:
    counts = np.zeros((512, 10), np.int64)
    counts[100:120, :3] = [5000, 300, 200]
    counts[120:140, 5:8] = [200, 5000, 900]
    tables = tables_for(counts)
    assert len(tables.frequencies) == 2
    assert tables.table_of.tolist() == [0] * 120 + [1] * 392


@pytest.mark.parametrize(
    "row", [[1], [1 << 30, 1], [1] * 255, [1 << 22] * 200 + [1] * 55, [0, 3, 0, 1, 0], [10**6, 10**6 + 1, 7]]
)
def test_frequencies_sum_up_and_leave_none_out(row: list[int]) -> None:
    counts = np.array([row], np.int64)
    frequencies = scaled(counts)
    assert frequencies.sum() == 1 << SCALE_BITS
    assert ((frequencies > 0) == (counts > 0)).all()
    assert (np.argsort(-frequencies[0], kind="stable")[0]) == int(np.argmax(counts[0])) or len(set(row)) < 3


def test_what_is_split_into_slots_is_what_is_coded() -> None:
    frequencies = scaled(counted(5, 40, 30)[:20] + 1)
    slots = slots_of(frequencies).reshape(20, -1)
    for row, table in zip(slots, frequencies, strict=True):
        assert (np.bincount(row & 255, minlength=30) == table).all()
        assert ((row >> 8 & 0xFFF) == table[row & 255]).all()
        assert (row >> 20 < table[row & 255]).all()


def test_entries_are_starts_and_frequencies() -> None:
    tables = scaled(counted(3, 5, 63))
    entries = entries_of(tables).reshape(5, 256)
    assert (entries[:, :63] & 0xFFFF == tables).all()
    assert not (entries[:, 63:] & 0xFFFF).any()
    assert (entries[:, :63] >> 16 == (np.cumsum(tables, axis=1) - tables) % (1 << SCALE_BITS)).all()


def test_quotients_of_doubles_are_exact() -> None:
    """What the compiled encoder divides: no state is 2^21 times its symbol's frequency or more."""
    frequencies = np.arange(1, (1 << SCALE_BITS) + 1, dtype=np.uint64)
    highest = (frequencies << np.uint64(32 - SCALE_BITS)) - np.uint64(1)
    for states in (
        highest,
        highest // frequencies * frequencies - np.uint64(1),
        highest // frequencies * frequencies,
        highest >> np.uint64(1),
    ):
        assert ((states.astype(np.float64) / frequencies).astype(np.uint64) == states // frequencies).all()
