"""Chunks stored against others: the same bytes come out, in whatever order they came in, and no damage spreads."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from casstore.codecs import Codec
from casstore.digests import BLAKE3, Digest
from casstore.engine import Settings
from casstore.errors import DamagedError, FailedError
from casstore.frames import FrameKind
from casstore.index.order import frames_in_packs
from casstore.index.rows import FrameRow
from casstore.maintenance import repair
from casstore.maintenance.compact import Compacted, compact, estimate
from casstore.maintenance.gc import collect
from casstore.maintenance.rebuild import rebuild
from casstore.maintenance.verify import check
from casstore.packs import pack_path
from casstore.refs import RefKind
from casstore.store import Store
from casstore.testing.builders import all_contents, contents, one_tensor, put, remove, stage

COUNT = 50_000
Words = Any


def weights(seed: int = 1) -> Words:
    return np.random.default_rng(seed).normal(0, 0.05, COUNT).astype("<f4")


def tuned(base: Words, seed: int = 2) -> Words:
    return (base + np.random.default_rng(seed).normal(0, 1e-5, base.size)).astype("<f4")


def bfloat16(words: Words) -> bytes:
    bits = words.view("<u4")
    return bytes(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes())


BASE = weights()
FAMILY = {
    "base": {"w.4": BASE.tobytes()},
    "base-bf16": {"w.2": bfloat16(BASE)},
    "base-fp16": {"w.2": BASE.astype("<f2").tobytes()},
    "tuned": {"w.4": tuned(BASE).tobytes()},
    "tuned-bf16": {"w.2": bfloat16(tuned(BASE))},
    "later": {"w.4": tuned(tuned(BASE), 3).tobytes()},
    "other": {"w.4": weights(9).tobytes()},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", create=True, finder=one_tensor) as store:
        yield store


def rows(store: Store) -> list[FrameRow]:
    """The chunks in the order in which they were stored."""
    packs = store.engine.ledger.rows.pack_ids_in_order()
    with frames_in_packs(store.engine.ledger.database, packs) as frames:
        return [row for row in frames if row.kind is FrameKind.CHUNK]


def codecs_of(store: Store) -> list[Codec]:
    return [Codec(row.codec) for row in rows(store)]


def assert_whole(store: Store, names: Any = FAMILY) -> None:
    found = {name: files for (name, _), files in all_contents(store).items()}
    assert found == {name: FAMILY[name] for name in names}
    with store.reading():
        assert check(store.engine, data=True).findings == ()


def test_what_it_was_made_from_is_found_among_many(store: Store) -> None:
    """All have one shape, and none is like another: more of them than are looked at came after the one that counts."""
    parent = put(store, "base", FAMILY["base"])
    for seed in range(40):
        put(store, f"stranger-{seed}", {"w.4": weights(100 + seed).tobytes()})
    with store.writing() as transaction:
        transaction.came_from(Digest(BLAKE3, bytes(32)))  # not there
        transaction.came_from(parent)
        stage(transaction, "tuned", FAMILY["tuned"])
        transaction.commit()
    assert rows(store)[-1].base == rows(store)[0].digest
    put(store, "of nobody", {"w.4": tuned(BASE, 5).tobytes()})
    assert rows(store)[-1].base is None


def test_a_family(store: Store) -> None:
    for name, files in FAMILY.items():
        put(store, name, files)
    base, base_bf16, base_fp16, fine, fine_bf16, later, other = rows(store)
    assert (base.codec, base.base) == (Codec.BYTEPLANE, None)
    assert other.base is None, "noise is like nothing"
    for row in (base_bf16, base_fp16):
        assert (row.codec, row.base) == (Codec.CAST, base.digest)
        assert row.length < 200
    assert (fine.codec, fine.base) == (Codec.DELTA, base.digest)
    assert (fine_bf16.codec, fine_bf16.base) == (Codec.CAST, fine.digest), "a cast may be of a delta"
    assert (later.codec, later.base) == (Codec.DELTA, base.digest), "a delta may not be against a delta"
    assert fine.length < 0.6 * base.length
    assert_whole(store)


def test_a_family_in_one_transaction(store: Store) -> None:
    with store.writing() as transaction:
        for name, files in FAMILY.items():
            stage(transaction, name, files)
        transaction.commit()
    assert codecs_of(store).count(Codec.CAST) == 3
    assert codecs_of(store).count(Codec.DELTA) == 2
    assert_whole(store)


@pytest.mark.parametrize("order", list(itertools.permutations(["base", "base-bf16", "tuned", "tuned-bf16"])))
def test_every_order(store: Store, order: tuple[str, ...]) -> None:
    for name in order:
        put(store, name, FAMILY[name])
    assert_whole(store, order)
    before = store.engine.ledger.rows.packs_bytes()
    compact(store.engine)
    assert_whole(store, order)
    assert store.engine.ledger.rows.packs_bytes() <= before
    assert store.engine.ledger.rows.packs_bytes() < 1.45 * BASE.nbytes, "the tuned one takes 0.45, casts nothing"


def test_packs_that_fill_up_between_a_base_and_its_deltas(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", create=True, finder=one_tensor, settings=Settings(pack_bytes=1000)) as store:
        with store.writing() as transaction:
            for name, files in FAMILY.items():
                stage(transaction, name, files)
            transaction.commit()
        assert codecs_of(store).count(Codec.DELTA) == 2
        assert_whole(store)


def test_a_store_without_deltas(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", create=True, finder=one_tensor, settings=Settings(deltas=False)) as store:
        for name, files in FAMILY.items():
            put(store, name, files)
        assert set(codecs_of(store)) == {Codec.BYTEPLANE}
        assert_whole(store)


def test_gc_keeps_the_base_of_what_is_needed(store: Store) -> None:
    versions = {name: put(store, name, FAMILY[name]) for name in ("base", "tuned", "tuned-bf16")}
    remove(store, "base", versions["base"])
    remove(store, "tuned", versions["tuned"])
    collect(store.engine)
    assert_whole(store, ["tuned-bf16"])
    assert len(rows(store)) == 3
    remove(store, "tuned-bf16", versions["tuned-bf16"])
    collect(store.engine)
    assert rows(store) == []


def test_a_rebuilt_index_knows_bases_and_candidates(store: Store) -> None:
    for name in ("base", "tuned"):
        put(store, name, FAMILY[name])
    store.close()
    rebuild(store.layout)
    assert_whole(store, ["base", "tuned"])
    put(store, "later", FAMILY["later"])
    put(store, "base-bf16", FAMILY["base-bf16"])
    assert codecs_of(store)[2:] == [Codec.DELTA, Codec.CAST]
    assert_whole(store, ["base", "tuned", "later", "base-bf16"])


def spoil(store: Store, row: FrameRow) -> None:
    with pack_path(store.layout.packs, row.pack).open("r+b") as file:
        file.seek(row.offset + row.length - 20)
        data = file.read(1)
        file.seek(row.offset + row.length - 20)
        file.write(bytes([data[0] ^ 0x5A]))


def test_a_damaged_base_is_named_and_is_no_base_any_more(store: Store) -> None:
    versions = {name: put(store, name, FAMILY[name]) for name in ("base", "tuned")}
    base, fine = rows(store)
    spoil(store, base)
    with store.reading() as reader, pytest.raises(DamagedError, match=f"its base, chunk {base.digest.hex()}"):
        contents(reader, versions["tuned"])
    put(store, "later", FAMILY["later"])
    assert codecs_of(store)[2] == Codec.BYTEPLANE, "a chunk is stored whole rather than against what is damaged"
    with store.reading() as reader:
        assert contents(reader, reader.refs(RefKind.VERSION, "later")[0].target) == FAMILY["later"]
        found = check(store.engine, data=True)
        assert {finding.name for finding in found.findings} == {"base", "tuned"}
        assert {digest for _, digest in found.broken} == {base.digest, fine.digest}
        repair.set_aside(store.engine, found)
    put(store, "base", FAMILY["base"])
    put(store, "tuned", FAMILY["tuned"])
    assert_whole(store, ["base", "tuned", "later"])


def test_a_lost_base_takes_the_casts_of_its_deltas_with_it_and_all_can_be_healed(store: Store) -> None:
    names = ("base", "tuned", "tuned-bf16")
    for name in names:
        put(store, name, FAMILY[name])
    base, fine, fine_bf16 = rows(store)
    store.close()
    pack_path(store.layout.packs, base.pack).unlink()
    rebuild(store.layout)
    for row in (base, fine, fine_bf16):
        assert not store.engine.ledger.rows.is_live(FrameKind.CHUNK, row.digest)
    for name in names:
        put(store, name, FAMILY[name])
    assert_whole(store, names)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1)])
def test_all_that_stands_on_a_lost_base_is_marked_whatever_the_order(store: Store, order: tuple[int, ...]) -> None:
    lost, delta, cast = (bytes([number]) * 32 for number in order)
    ledger = store.engine.ledger
    with ledger.locked():
        for digest, base, state in ((lost, None, 1), (delta, lost, 0), (cast, delta, 0)):
            ledger.database.execute(
                "INSERT INTO frames (kind, digest, pack, offset, length, raw_length, codec, state, base) "
                "VALUES (1, ?, 0, 0, 0, 0, 0, ?, ?)",
                (digest, state, base),
            )
        ledger.rows.mark_baseless()
    assert not any(ledger.rows.is_live(FrameKind.CHUNK, digest) for digest in (lost, delta, cast))


def test_a_damaged_delta_is_told_from_a_damaged_base(store: Store) -> None:
    put(store, "base", FAMILY["base"])
    version = put(store, "tuned", FAMILY["tuned"])
    _, fine = rows(store)
    spoil(store, fine)
    with store.reading() as reader, pytest.raises(DamagedError) as caught:
        contents(reader, version)
    assert "base" not in str(caught.value)


def test_a_base_that_goes_away_before_the_commit_fails_it(store: Store) -> None:
    put(store, "base", FAMILY["base"])
    (base,) = rows(store)
    with store.writing() as transaction:
        stage(transaction, "tuned", FAMILY["tuned"])
        with store.engine.ledger.locked():
            store.engine.ledger.rows.mark_lost([(FrameKind.CHUNK, base.digest)])
            store.engine.ledger.database.execute("UPDATE frames SET state = 1 WHERE digest = ?", (base.digest,))
        with pytest.raises(FailedError, match="is gone"):
            transaction.commit()
    put(store, "tuned", FAMILY["tuned"])
    with store.reading() as reader:
        (ref,) = reader.refs(RefKind.VERSION, "tuned")
        assert contents(reader, ref.target) == FAMILY["tuned"]


def test_a_whole_chunk_takes_the_place_of_a_delta_that_came_first(store: Store) -> None:
    """Two processes store the same chunk at once, one of them without knowing of the base."""
    with store.writing() as transaction:
        stage(transaction, "tuned", FAMILY["tuned"])
        stage(transaction, "later", FAMILY["later"])
        with Store.open(store.path, finder=one_tensor) as other:
            put(other, "base", FAMILY["base"])
            put(other, "tuned", FAMILY["tuned"])
        transaction.commit()
    assert_whole(store, ["base", "tuned", "later"])
    with store.reading() as reader:
        row = store.engine.ledger.rows.frame(FrameKind.CHUNK, rows(store)[-1].digest)
        assert row is not None
        assert len(reader.refs(RefKind.VERSION)) == 3


class TestCompact:
    def test_an_empty_store(self, store: Store) -> None:
        assert compact(store.engine) == Compacted(0, 0, 0, 0)

    def test_chunks_that_came_in_at_once(self, store: Store) -> None:
        with store.writing() as one, store.writing() as other:
            stage(one, "base", FAMILY["base"])
            stage(other, "tuned", FAMILY["tuned"])
            one.commit()
            other.commit()
        assert codecs_of(store) == [Codec.BYTEPLANE, Codec.BYTEPLANE]
        with store.reading():
            promised = estimate(store.engine)
        done = compact(store.engine)
        assert sorted(codecs_of(store)) == [Codec.BYTEPLANE, Codec.DELTA]
        assert (done.deltas, promised.deltas) == (1, 1)
        assert promised.reclaimed_bytes == pytest.approx(done.reclaimed_bytes, rel=0.05)
        assert_whole(store, ["base", "tuned"])

    def test_small_packs_are_merged_and_dead_space_is_dropped(self, store: Store) -> None:
        versions = {
            name: put(store, name, {"noise.1": bytes([seed]) + np.random.default_rng(seed).bytes(9000)})
            for seed, name in enumerate("abcdef")
        }
        with store.writing() as transaction:
            for name in "gh":
                versions[name] = stage(transaction, name, {"x": np.random.default_rng(ord(name)).bytes(50_000)})
            transaction.commit()
        remove(store, "g", versions["g"])
        collect(store.engine)
        before = store.engine.ledger.rows.packs_bytes()
        done = compact(store.engine)
        assert len(list(store.layout.packs.glob("*.pack"))) == 1
        assert done.packs == 7
        assert 50_000 < done.reclaimed_bytes == before - store.engine.ledger.rows.packs_bytes()
        with store.reading():
            assert check(store.engine, data=True).findings == ()
        again = compact(store.engine)
        assert (again.reclaimed_bytes, again.packs) == (0, 0)

    def test_a_pack_with_damage_stays(self, store: Store) -> None:
        put(store, "a", {"x": np.random.default_rng(1).bytes(9000)})
        put(store, "b", {"x": np.random.default_rng(2).bytes(9000)})
        damaged = rows(store)[0]
        spoil(store, damaged)
        assert compact(store.engine).damaged_packs == 1
        assert pack_path(store.layout.packs, damaged.pack).exists()
        with store.reading():
            assert {finding.name for finding in check(store.engine, data=True).findings} == {"a"}

    def test_a_pack_that_cannot_be_read_stays(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        put(store, "a", {"x": np.random.default_rng(1).bytes(9000)})
        put(store, "b", {"x": np.random.default_rng(2).bytes(9000)})
        unreadable = rows(store)[0].pack
        packs, reads = store.engine.packs, []
        real = packs.read

        def read(pack_id: bytes, offset: int, length: int) -> bytes:
            reads.append((pack_id, offset))
            if pack_id == unreadable:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(pack_id, offset, length)

        monkeypatch.setattr(packs, "read", read)
        assert compact(store.engine).damaged_packs == 1
        chunks = [place for place in reads if place in {(row.pack, row.offset) for row in rows(store)}]
        assert len(chunks) == len(set(chunks)), "what moves is read once"

    def test_a_rebuild_after_it(self, store: Store) -> None:
        for name, files in reversed(FAMILY.items()):
            put(store, name, files)
        compact(store.engine)
        store.close()
        rebuild(store.layout)
        assert_whole(store)

    def test_a_chunk_that_others_are_stored_against_meanwhile_stays_whole(self, store: Store) -> None:
        put(store, "tuned", FAMILY["tuned"])
        put(store, "base", FAMILY["base"])
        # The first is stored whole, the second against it: so the first stays, and nothing is left to do.
        assert codecs_of(store) == [Codec.BYTEPLANE, Codec.DELTA]
        assert compact(store.engine).deltas == 0
        assert_whole(store, ["tuned", "base"])
