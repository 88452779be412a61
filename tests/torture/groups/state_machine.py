"""Long random histories of one store, against a dictionary of what must be there.

Hypothesis chooses the steps: versions put (near-copies among them, so that deltas and casts occur), removed and brought
back, tags and pins, gc, compact, a rebuilt index, closing and opening; each of these may be killed at some call that
changes the disk, or fail there. After every step all versions that must be there are listed, and no others; after every
few, and whatever may have moved bytes, all of them are read to the byte.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from casstore.digests import BLAKE3, Digest
from casstore.errors import StoreError
from casstore.maintenance import gc
from casstore.maintenance.compact import compact
from casstore.maintenance.leftovers import remove_leftovers
from casstore.maintenance.rebuild import rebuild
from casstore.maintenance.verify import check
from casstore.refs import RefKey, RefKind
from casstore.store import Store
from casstore.testing.builders import all_contents, noise, put, remove, version_key
from casstore.testing.faults import Failing, Killing, hooked
from tests.crash.operations import opened
from tests.forks import in_child
from tests.models.reading.weights import rounded
from tests.quick_disk import quick_directory
from tests.torture.plan import Mutation, Outcome, Plan

Files: TypeAlias = Mapping[str, bytes]
Version: TypeAlias = tuple[str, str]
"""A name, and a version's id in hex."""

_MOST_VERSIONS = 8
_READ_EVERY = 4
_LAST_CALL = 60
"""Most steps change the disk less often: then they end well."""

MUTATIONS = [
    Mutation(
        "gc takes the bases of deltas",
        "store/casstore/closure.py",
        "found = {base for _, _, base in lengths if base is not None} - seen",
        "found = {base for _, _, base in lengths if base is not None} & seen",
    ),
    Mutation(
        "a removal does not reach the journal",
        "store/casstore/ledger.py",
        "        self.operations.append(RefMoved(key, before.target if before else None, target, order))",
        "        if target is not None:\n            self.operations.append(RefMoved(key, None, target, order))",
    ),
    Mutation(
        "what a lost COMMIT did is not replayed",
        "store/casstore/ledger.py",
        "            case RefMoved(key, _, new, order):\n                refs.put(key, new, order)",
        "            case RefMoved():\n                pass",
    ),
    Mutation(
        "packs that hold records only count as empty",
        "store/casstore/index/rows.py",
        "WHERE number NOT IN (SELECT DISTINCT pack FROM frames)",
        "WHERE number NOT IN (SELECT DISTINCT pack FROM frames WHERE kind = 1)",
    ),
]


def run(plan: Plan) -> Iterator[Outcome]:
    """Some hundred steps in a short run, else more than ten thousand."""
    examples, steps = (6, 60) if plan.is_short else (160, 120)
    options = settings(
        max_examples=examples,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        phases=(Phase.generate,),  # a killed process has not always come as far, so nothing can be shrunk
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    History.steps = 0
    failures = []
    try:
        run_state_machine_as_test(seed(plan.random("history").randrange(1 << 32))(History), settings=options)
    except Exception as error:
        story = "; ".join(getattr(error, "__notes__", [])) or repr(error)
        failures.append(f"with the seed {plan.seed}: {error!r}: {' '.join(story.split())}")
    yield Outcome("steps of random histories", History.steps, tuple(failures))


@lru_cache(256)
def _tensor(family: int, step: int, width: int) -> bytes:
    """Numbers that are alike for all steps of a family, as 32-bit floats or their casts to bfloat16."""
    numbers = np.random.default_rng(family)
    values = numbers.standard_normal(5000).astype("f4")
    change = np.random.default_rng(1000 + step).standard_normal(5000).astype("f4")
    tuned = values * (1 + np.float32(1e-4 * step) * change)
    return tuned.tobytes() if width == 4 else rounded(tuned).tobytes()


_tensors = st.tuples(st.integers(0, 1), st.integers(0, 4), st.sampled_from((4, 2))).map(
    lambda drawn: (f"w{drawn[0]}.{drawn[2]}", _tensor(*drawn))
)
_noises = st.tuples(st.integers(0, 5), st.sampled_from((0, 1, 900, 5000, 12_000))).map(
    lambda drawn: (f"f{drawn[0]}", noise(*drawn))
)
contents = st.lists(_tensors | _noises, min_size=1, max_size=3, unique_by=lambda item: item[0]).map(dict)
names = st.sampled_from(("a", "b", "c"))
calls = st.integers(0, _LAST_CALL)
picks = st.integers(0, 1 << 16)
maintenance = st.sampled_from((gc.collect, compact))


class History(RuleBasedStateMachine):
    """One store and what must be in it."""

    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self._root = self._stack.enter_context(quick_directory()) / "store"
        self._store = opened(self._root, create=True)
        self._held: dict[Version, Files] = {}
        self._tags: dict[tuple[str, str], str] = {}
        self._pins: set[Version] = set()
        self._removed: dict[Version, Files] = {}
        self._made = 0
        self._since_read = 0
        self._acted = False

    def teardown(self) -> None:
        """Close and remove the store."""
        self._store.close()
        self._stack.close()

    @rule(name=names, files=contents)
    def put(self, name: str, files: Files) -> None:
        """A new version."""
        if len(self._held) >= _MOST_VERSIONS:
            self._nothing()
            return
        self._made += 1
        version = put(self._store, name, files, created_ns=self._made)
        self._held[name, version.hex] = files

    @rule(pick=picks)
    def remove(self, pick: int) -> None:
        """A version goes."""
        if not self._held:
            self._nothing()
            return
        version = self._pick(pick)
        remove(self._store, version[0], _digest(version))
        self._forget(version)

    @rule(pick=picks)
    def bring_back(self, pick: int) -> None:
        """A version that was removed, and that no gc has taken, comes back by its id."""
        if not self._removed:
            self._nothing()
            return
        version = sorted(self._removed)[pick % len(self._removed)]
        self._set(version_key(version[0], _digest(version)), _digest(version))
        self._held[version] = self._removed.pop(version)

    @rule(pick=picks, label=st.sampled_from(("v1", "v2")))
    def tag(self, pick: int, label: str) -> None:
        """A tag moves."""
        if not self._held:
            self._nothing()
            return
        version = self._pick(pick)
        self._set(RefKey(RefKind.TAG, version[0], label), _digest(version))
        self._tags[version[0], label] = version[1]

    @rule(pick=picks)
    def pin(self, pick: int) -> None:
        """A pin is set, or taken away."""
        if not self._held:
            self._nothing()
            return
        version = self._pick(pick)
        key = RefKey(RefKind.PIN, *version)
        self._set(key, None if version in self._pins else _digest(version))
        self._pins ^= {version}

    @rule()
    def collect(self) -> None:
        """gc."""
        remove_leftovers(self._store.engine)
        gc.collect(self._store.engine)
        self._removed.clear()
        self._since_read = _READ_EVERY

    @rule()
    def compact(self) -> None:
        """compact."""
        compact(self._store.engine)
        self._since_read = _READ_EVERY

    @rule()
    def open_again(self) -> None:
        """Close, and open."""
        self._store.close()
        self._store = opened(self._root)

    @rule(is_lost=st.booleans())
    def rebuild(self, is_lost: bool) -> None:
        """A new index; the old one may be gone."""
        if is_lost:
            self._store.close()
            for path in self._root.glob("index.sqlite3*"):
                path.unlink()
        rebuild(self._store.layout)
        if is_lost:
            self._store = opened(self._root)
        self._since_read = _READ_EVERY

    @rule()
    def verify(self) -> None:
        """Every byte, by the store's own check."""
        with self._store.reading():
            checked = check(self._store.engine, data=True)
        assert not checked.findings
        assert not checked.broken

    @rule(name=names, files=contents, at=calls, is_killed=st.booleans())
    def put_and_stop(self, name: str, files: Files, at: int, is_killed: bool) -> None:
        """A new version is cut short: all of it is there, or nothing."""
        if len(self._held) >= _MOST_VERSIONS:
            self._nothing()
            return
        self._made += 1
        before = set(self._listed())
        self._stop(lambda store: put(store, name, files, created_ns=self._made), at, is_killed)
        for version in set(self._listed()) - before:
            assert version[0] == name
            self._held[version] = files

    @rule(pick=picks, at=calls, is_killed=st.booleans())
    def remove_and_stop(self, pick: int, at: int, is_killed: bool) -> None:
        """A removal is cut short."""
        if not self._held:
            self._nothing()
            return
        version = self._pick(pick)
        self._stop(lambda store: remove(store, version[0], _digest(version)), at, is_killed)
        if version not in self._listed():
            self._forget(version)

    @rule(at=calls, is_killed=st.booleans(), what=maintenance)
    def maintain_and_stop(self, at: int, is_killed: bool, what: Callable[..., object]) -> None:
        """gc or compact is cut short."""
        self._stop(lambda store: what(store.engine), at, is_killed)
        if what is gc.collect:
            self._removed.clear()

    @invariant()
    def nothing_is_missing_and_nothing_comes_back(self) -> None:
        """The dictionary says the same as the store."""
        History.steps += self._acted
        self._acted = True
        self._since_read += 1
        assert set(self._listed()) == self._held.keys()
        with self._store.reading() as reader:
            tags = {(ref.key.name, ref.key.label): ref.target.hex for ref in reader.refs(RefKind.TAG)}
            pins = {(ref.key.name, ref.key.label) for ref in reader.refs(RefKind.PIN)}
        assert tags == self._tags
        assert pins == self._pins
        if self._since_read >= _READ_EVERY:
            self._since_read = 0
            assert all_contents(self._store) == self._held

    def _nothing(self) -> None:
        """This step has nothing to do, and does not count. (No rule has a precondition: how far a process came that was
        killed differs from run to run, and Hypothesis must find the same rules each time.)"""
        self._acted = False

    def _stop(self, work: Callable[[Store], object], at: int, is_killed: bool) -> None:
        """Do it in another process that is killed at a call that changes the disk, or here where that call fails."""
        self._since_read = _READ_EVERY
        if is_killed:
            os.waitpid(in_child(lambda: _killed(self._root, work, at)), 0)
        else:
            number = random.Random(at).choice((errno.ENOSPC, errno.EIO))
            with hooked(Failing(number, skip=at)), contextlib.suppress(StoreError, OSError):
                work(self._store)
        # It may have been stopped after the journal's sync: then it counts, and whoever opens the store learns of it.
        self.open_again()

    def _set(self, key: RefKey, target: Digest | None) -> None:
        with self._store.writing() as transaction:
            transaction.set_ref(key, target)
            transaction.commit()

    def _forget(self, version: Version) -> None:
        """A version is not held any more; tags and pins stay, and keep it from gc, but it is not listed."""
        self._removed[version] = self._held.pop(version)

    def _listed(self) -> list[Version]:
        with self._store.reading() as reader:
            return [(ref.key.name, ref.target.hex) for ref in reader.refs(RefKind.VERSION)]

    def _pick(self, pick: int) -> Version:
        return sorted(self._held)[pick % len(self._held)]


def _digest(version: Version) -> Digest:
    return Digest(BLAKE3, bytes.fromhex(version[1]))


def _killed(path: Path, work: Callable[[Store], object], at: int) -> None:
    with opened(path) as store, hooked(Killing(at)):
        work(store)
