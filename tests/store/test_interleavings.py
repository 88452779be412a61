"""Writers, readers, gc, kills, lost COMMITs, rebuilds in any order: refs name what is whole, and what looks had is."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from casstore.catalog import Reader
from casstore.digests import Digest, sha256_digest
from casstore.engine import Settings
from casstore.errors import BusyError, FullError, NotFoundError
from casstore.frames import FrameKind
from casstore.index.database import Database
from casstore.maintenance import gc
from casstore.maintenance.leftovers import remove_leftovers
from casstore.maintenance.rebuild import rebuild
from casstore.maintenance.verify import check
from casstore.packs import list_packs
from casstore.refs import RefKind
from casstore.store import Store
from casstore.testing.builders import GRID_BYTES, contents, grid, noise, version_key
from casstore.transactions import Transaction
from casstore.trees import Entry, Tree
from casstore.versions import Version
from tests.quick_disk import quick_directory

_CHUNKS = [noise(number, GRID_BYTES) for number in range(3)]
BLOBS = [b"".join(pair) for pair in itertools.combinations(_CHUNKS, 2)]
SLOTS = st.integers(0, 1)
CHOICES = st.integers(0, 1000)


@contextlib.contextmanager
def lost_commit(number: int) -> Iterator[None]:
    """The COMMIT of that number is lost after the journal was synced, and so are all after it."""
    real = Database.execute
    left = number

    def execute(self: Database, statement: str, values: Any = ()) -> list[tuple[Any, ...]]:
        nonlocal left
        if statement == "COMMIT":
            left -= 1
            if left < 0:
                raise FullError("lost")
        return real(self, statement, values)

    Database.execute = execute  # type: ignore[method-assign]
    try:
        yield
    finally:
        Database.execute = real  # type: ignore[method-assign]


class Writer:
    """A transaction under way and the blobs that its tree will have."""

    def __init__(self, store: Store) -> None:
        self.context = store.writing()
        self.transaction: Transaction = self.context.__enter__()
        self.staged: dict[str, bytes] = {}

    def end(self) -> None:
        self.context.__exit__(None, None, None)

    def die(self) -> None:
        """As a kill would end it: nothing is abandoned, only the kernel's locks are gone."""
        if self.transaction._pack is not None:
            os.close(self.transaction._pack._descriptor)
        self.transaction._take_sealed(all_of_them=True)
        self.transaction.abandon = lambda: None  # type: ignore[method-assign]
        self.end()


class Machine(RuleBasedStateMachine):
    """Two processes' worth of stores over one directory."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        root: Path = self.stack.enter_context(quick_directory()) / "store"
        self.stores = [
            self.stack.enter_context(
                Store.open(root, create=True, finder=grid, workers=1, settings=Settings(pack_bytes=4000))
            )
            for _ in range(2)
        ]
        self.writers: dict[int, Writer] = {}
        self.readers: dict[int, tuple[Any, Reader, Digest]] = {}
        self.known: dict[Digest, dict[str, bytes]] = {}
        self.named: set[Digest] = set()
        self.clock = itertools.count(1)

    def store(self, slot: int) -> Store:
        return self.stores[slot % 2]

    def key(self, version: Digest) -> Any:
        return version_key("name", version)

    def writer(self, slot: int) -> Writer:
        if slot not in self.writers:
            self.writers[slot] = Writer(self.store(slot))
        return self.writers[slot]

    @rule(slot=SLOTS, blob=st.sampled_from(BLOBS))
    def add(self, slot: int, blob: bytes) -> None:
        writer = self.writer(slot)
        info = writer.transaction.add_bytes(blob, "f").info
        writer.staged[f"f{len(writer.staged)}"] = blob
        assert info.sha256 == sha256_digest(blob)

    @rule(slot=SLOTS, blob=st.sampled_from(BLOBS))
    def find(self, slot: int, blob: bytes) -> None:
        writer = self.writer(slot)
        if writer.transaction.find_blob(sha256_digest(blob)) is not None:
            writer.staged[f"f{len(writer.staged)}"] = blob

    @rule(slot=SLOTS)
    def fill_a_pack(self, slot: int) -> None:
        """With what nobody wants: what was put in before is entered when the next pack is begun."""
        writer = self.writer(slot)
        for _ in range(2):
            writer.transaction.add_bytes(noise(1000 + next(self.clock), GRID_BYTES), "filler")

    @rule(slot=SLOTS, keep=st.booleans())
    def commit_some(self, slot: int, keep: bool) -> None:
        if slot in self.writers:
            writer = self.writers[slot]
            for blob in writer.staged.values():
                info = writer.transaction.find_blob(sha256_digest(blob))
                assert info is not None
                if keep:
                    writer.transaction.keep(info)
            writer.transaction.commit()

    @rule(slot=SLOTS, lost=st.none() | st.integers(0, 2))
    def finish(self, slot: int, lost: int | None) -> None:
        writer = self.writers.pop(slot, None)
        if writer is None:
            return
        entries = [Entry.file(path, sha256_digest(data), len(data)) for path, data in writer.staged.items()]
        tree = writer.transaction.add_tree(Tree.of(entries))
        version = writer.transaction.add_version(Version(tree, None, "", next(self.clock), metadata={"name": "name"}))
        writer.transaction.set_ref(self.key(version), version)
        writer.transaction.let_go()
        self.known[version] = writer.staged
        with lost_commit(lost) if lost is not None else contextlib.nullcontext(), contextlib.suppress(FullError):
            writer.transaction.commit()
        writer.end()
        self.look_again(version)

    def look_again(self, version: Digest) -> None:
        """After a change whose COMMIT may have been lost."""
        with self.stores[0].writing() as transaction:
            transaction.set_ref(version_key("nobody", version), None)
            transaction.commit()
            self.named = {ref.target for ref in transaction.refs(RefKind.VERSION)}

    @rule(slot=SLOTS)
    def abandon(self, slot: int) -> None:
        if slot in self.writers:
            self.writers.pop(slot).end()

    @rule(slot=SLOTS)
    def die(self, slot: int) -> None:
        if slot in self.writers:
            self.writers.pop(slot).die()

    @precondition(lambda self: self.named)
    @rule(slot=SLOTS, choice=CHOICES)
    def remove(self, slot: int, choice: int) -> None:
        version = sorted(self.named)[choice % len(self.named)]
        with self.store(slot).writing() as transaction:
            transaction.set_ref(self.key(version), None)
            transaction.commit()
        self.named.discard(version)

    @precondition(lambda self: self.known)
    @rule(slot=SLOTS, choice=CHOICES)
    def bring_back(self, slot: int, choice: int) -> None:
        version = sorted(self.known)[choice % len(self.known)]
        with self.store(slot).writing() as transaction:
            transaction.set_ref(self.key(version), version)
            try:
                transaction.commit()
            except NotFoundError:
                return
        self.named.add(version)

    @precondition(lambda self: self.named)
    @rule(slot=SLOTS, choice=CHOICES)
    def begin_reading(self, slot: int, choice: int) -> None:
        if slot not in self.readers:
            context = self.store(slot).reading()
            version = sorted(self.named)[choice % len(self.named)]
            self.readers[slot] = (context, context.__enter__(), version)

    @rule(slot=SLOTS)
    def end_reading(self, slot: int) -> None:
        if slot in self.readers:
            context, reader, version = self.readers.pop(slot)
            assert contents(reader, version) == self.known[version]
            context.__exit__(None, None, None)

    @rule(slot=SLOTS, lost=st.none() | st.integers(0, 8))
    def collect(self, slot: int, lost: int | None) -> None:
        with (
            lost_commit(lost) if lost is not None else contextlib.nullcontext(),
            contextlib.suppress(BusyError, FullError),
        ):
            gc.collect(self.store(slot).engine, wait_seconds=0)

    @rule(slot=SLOTS)
    def clean_up(self, slot: int) -> None:
        remove_leftovers(self.store(slot).engine)

    @rule(choice=CHOICES)
    def rebuild(self, choice: int) -> None:
        if choice % 4:  # now and then
            return
        with contextlib.suppress(BusyError):
            rebuilt = rebuild(self.stores[0].layout, wait_seconds=0)
            assert (rebuilt.lost_packs, rebuilt.adopted_packs, rebuilt.damaged_lines) == ((), (), 0)

    @invariant()
    def what_a_ref_names_is_whole(self) -> None:
        with self.stores[1].reading() as reader:
            assert {ref.target for ref in reader.refs(RefKind.VERSION)} == self.named
            for version in self.named:
                assert contents(reader, version) == self.known[version]

    @invariant()
    def what_looks_had_is_whole(self) -> None:
        rows = self.stores[1].engine.ledger.rows
        with self.stores[1].reading() as reader:
            for blob in BLOBS:
                info = reader.find_blob(sha256_digest(blob))
                if info is not None:
                    assert all(rows.is_live(FrameKind.CHUNK, part.chunk) for part in reader.recipe(info.recipe).parts)

    def teardown(self) -> None:
        for slot in list(self.readers):
            self.end_reading(slot)
        for writer in self.writers.values():
            writer.end()
        store = self.stores[0]
        with store.reading():
            checked = check(store.engine, data=True)
        assert (checked.findings, checked.broken) == ((), {})
        remove_leftovers(store.engine)
        gc.collect(store.engine)
        gc.collect(store.engine)  # the first may have finished another
        self.what_a_ref_names_is_whole()
        assert set(list_packs(store.layout.packs)) == store.engine.ledger.rows.pack_ids()
        needed = {sha256_digest(chunk).value for version in self.named for chunk in self.known[version].values()}
        assert (store.engine.ledger.rows.totals()[0] == 0) == (not needed)
        self.stack.close()


@pytest.mark.parametrize(
    ("examples", "steps"), [(20, 30), pytest.param(400, 50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_any_order(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
