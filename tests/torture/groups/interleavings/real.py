"""The product itself, taken through orders of its steps: two or three engines on one store, in one process."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from casstore import files
from casstore.chunkers.spans import RandomAccess, Span
from casstore.closure import closure, root_of
from casstore.digests import BLAKE3, Digest, blake3_digest, sha256_digest
from casstore.engine import Engine, Settings
from casstore.errors import NotFoundError, StoreError
from casstore.frames import FrameKind
from casstore.maintenance import gc
from casstore.maintenance.compact import compact
from casstore.maintenance.verify import check
from casstore.packs import list_packs
from casstore.refs import RefKind
from casstore.store import Store
from casstore.testing.builders import all_contents, contents, noise, put, remove, stage, version_key
from casstore.testing.faults import hooked
from casstore.trees import Entry, Tree
from casstore.versions import Version
from tests.torture.groups.interleavings.turns import Choose, Turns

_TENSOR_BYTES = 16384

Work = Callable[[Store], object]


def tensors(name: str, source: RandomAccess) -> Sequence[Span]:
    """A span finder: files named ``….4`` are tensors of 4096 float32 each."""
    if not name.endswith(".4"):
        return []
    starts = range(0, source.size_bytes, _TENSOR_BYTES)
    return [Span(start, _TENSOR_BYTES, 4, 4, f"t{number:07d}".encode()) for number, start in enumerate(starts)]


@cache
def weights(tuned: int) -> bytes:
    """Three tensors; those of another ``tuned`` are so much like them that they are stored against them."""
    import numpy as np

    words = np.random.default_rng(1).normal(0, 0.05, 3 * _TENSOR_BYTES // 4)
    return bytes((words + np.random.default_rng(tuned).normal(0, 1e-5, words.size)).astype("<f4").tobytes())


OLD = {"w.4": weights(0), "shared": noise(1, 1500), "config": noise(2, 700)}
NEW = {"shared": noise(1, 1500), "w.4": weights(1)}
LATER = {"shared": noise(1, 1500), "w.4": weights(2)}


def opened(path: Path, *, create: bool = False, pack_bytes: int = 4000) -> Store:
    """The store, with packs that one tensor fills."""
    return Store.open(path, create=create, finder=tensors, workers=1, settings=Settings(pack_bytes=pack_bytes))


@dataclass(frozen=True, slots=True)
class RealScene:
    """What the store begins with, and who acts, each on an engine of its own."""

    what: str
    prepare: Callable[[Store], object]
    works: dict[str, Work]


def put_in(name: str, files: dict[str, bytes]) -> Work:
    """A checkpoint."""
    return lambda store: put(store, name, files)


def put_known(name: str, data: bytes) -> Work:
    """A pull of one file that is there already, if it is: nothing but its digest is known."""

    def work(store: Store) -> None:
        with store.writing() as transaction:
            info = transaction.find_blob(sha256_digest(data))
            if info is None:
                return
            tree = transaction.add_tree(Tree.of([Entry.file("f", info.sha256, info.size_bytes)]))
            version = transaction.add_version(Version(tree, None, "test:", 1, metadata={"name": name}))
            transaction.set_ref(version_key(name, version), version)
            transaction.commit()

    return work


def bring_back(name: str, files: dict[str, bytes]) -> Work:
    """A removed version gets its ref again, by its id alone; or is gone by then."""
    entries = [Entry.file(path, sha256_digest(data), len(data)) for path, data in files.items()]
    version = Version(Tree.of(entries).digest, None, "test:", 1, metadata={"name": name}).id

    def work(store: Store) -> None:
        with store.writing() as transaction, suppress(NotFoundError):
            transaction.set_ref(version_key(name, version), version)
            transaction.commit()

    return work


def collect(store: Store) -> None:
    """A gc that waits as long as it takes: whoever is waited for gets its turns meanwhile."""
    gc.collect(store.engine)


def merge_all(store: Store) -> None:
    """A compact for which every pack is small."""
    compact(replace(store.engine, settings=Settings()))


def take_away(name: str) -> Work:
    """Remove what is stored under a name."""

    def work(store: Store) -> None:
        with store.reading() as reader:
            versions = [ref.target for ref in reader.refs(RefKind.VERSION, name)]
        for version in versions:
            remove(store, name, version)

    return work


def _removed(store: Store) -> None:
    put(store, "kept", {"config": noise(2, 700), "x": noise(3, 3000)})
    remove(store, "old", put(store, "old", OLD))


def _alike(store: Store) -> None:
    """Chunks that are stored whole though they are alike, and a pack with much that is dead."""
    _removed(store)
    with store.writing() as one, store.writing() as other:
        stage(one, "a", {"w.4": weights(3)})
        stage(other, "b", {"w.4": weights(4)})
        one.commit()
        other.commit()


SCENES = (
    RealScene("a checkpoint and gc", _removed, {"writer": put_in("new", NEW), "gc": collect}),
    RealScene("a pull of what is there and gc", _removed, {"puller": put_known("new", OLD["shared"]), "gc": collect}),
    RealScene(
        "a removal, a pull of what is there and gc",
        lambda store: put(store, "old", OLD),
        {"remover": take_away("old"), "puller": put_known("new", OLD["w.4"]), "gc": collect},
    ),
    RealScene("a checkpoint and compact", _alike, {"writer": put_in("new", LATER), "compact": merge_all}),
    RealScene(
        "two checkpoints of one thing and gc",
        _removed,
        {"one": put_in("one", NEW), "two": put_in("two", NEW), "gc": collect},
    ),
    RealScene(
        "a checkpoint, compact and gc",
        _alike,
        {"writer": put_in("new", LATER), "compact": merge_all, "gc": collect},
    ),
    RealScene("a version brought back by its id and gc", _removed, {"who": bring_back("old", OLD), "gc": collect}),
    RealScene("compact and gc", _alike, {"compact": merge_all, "gc": collect}),
    RealScene("two gcs and a checkpoint", _removed, {"one": collect, "two": collect, "writer": put_in("new", NEW)}),
)


class Stage:
    """A directory with a template of each scene's store, which every order begins with."""

    def __init__(self, directory: Path, scene: RealScene) -> None:
        self._scene = scene
        self._template = directory / "template"
        self._path = directory / "store"
        with opened(self._template, create=True) as store:
            scene.prepare(store)
            self._known = [*_KNOWN, *all_contents(store).values()]

    def play(self, choose: Choose, *, may_break_off: bool = False) -> str | None:
        """Take one order; what did not hold."""
        shutil.copytree(self._template, self._path)
        try:
            with ExitStack() as stack:
                observer = stack.enter_context(opened(self._path))
                works = {
                    name: _bound(work, stack.enter_context(opened(self._path)))
                    for name, work in self._scene.works.items()
                }
                turns = Turns(works, choose, lambda: what_is_wrong(observer))
                found = turns.run(may_kill=may_break_off) or self._at_the_end(observer)
                order = "; ".join(turns.order)
                return None if found is None else f"{self._scene.what}: {found}, after {order}"
        finally:
            shutil.rmtree(self._path)

    def _at_the_end(self, store: Store) -> str | None:
        for _ in range(2):  # the first may have another's to finish
            gc.collect(store.engine)
        found = all_contents(store).values()
        if any(files not in self._known for files in found):
            return "a version has other bytes than were put in"
        with store.reading():
            checked = check(store.engine, data=True)
        if checked.findings or checked.broken:
            return f"verify finds {checked}"
        needed = {name for ref in store.engine.ledger.refs.all() for name in closure(store.engine, *root_of(ref))}
        if len(needed) != store.engine.ledger.database.execute("SELECT count(*) FROM frames")[0][0]:
            return "after a last gc there are rows that nothing needs"
        if set(list_packs(store.layout.packs)) != store.engine.ledger.rows.pack_ids():
            return "after a last gc there are packs that do not count"
        return None


_KNOWN = (OLD, NEW, LATER, {"f": OLD["shared"]}, {"f": OLD["w.4"]})

_BROKEN_PROMISES = """
SELECT count(*) FROM frames WHERE kind = 1 AND state = 0 AND base IS NOT NULL AND NOT EXISTS
    (SELECT 1 FROM frames AS base WHERE base.kind = 1 AND base.digest = frames.base AND base.state = 0)
"""


def what_is_wrong(store: Store) -> str | None:
    """What must hold after every step; a sentence where it does not."""
    try:
        return _broken_promise(store.engine)
    except StoreError as error:
        return f"a closure cannot be walked: {error}"


def _broken_promise(engine: Engine) -> str | None:
    rows = engine.ledger.rows
    for ref in engine.ledger.refs.all():
        missing = [kind.name for kind, digest in closure(engine, *root_of(ref)) if not rows.is_live(kind, digest)]
        if missing:
            return f"the version of {ref.key.name} is committed and lacks {', '.join(missing)}"
    for recipe in rows.readable(FrameKind.RECIPE):
        if rows.is_live(FrameKind.RECIPE, recipe):
            digest = Digest(BLAKE3, recipe)
            if not all(rows.is_live(*name) for name in closure(engine, FrameKind.RECIPE, digest)):
                return "a look-up shows a recipe and not all of its chunks"
    ((baseless,),) = engine.ledger.database.execute(_BROKEN_PROMISES)
    return f"look-ups show {baseless} deltas and not their bases" if baseless else None


def what_is_stored_anew_while_compact_reads(directory: Path) -> str | None:
    """A writer that knew of no base stores whole what compact has read as a delta: the whole one must stay."""
    with (
        opened(directory, create=True, pack_bytes=1 << 20) as store,
        opened(directory) as other,
        store.writing() as transaction,
    ):
        new = stage(transaction, "new", NEW)
        put(other, "old", OLD)
        put(other, "new", NEW)
        here = threading.get_ident()

        def commit(operation: str, _path: str) -> None:
            if (
                operation == "rename" and threading.get_ident() == here
            ):  # compact has read all, and is about to enter its pack
                files.set_hook(None)
                transaction.commit()

        with hooked(commit):
            merge_all(other)
        for start in range(0, len(NEW["w.4"]), _TENSOR_BYTES):
            chunk = blake3_digest(NEW["w.4"][start : start + _TENSOR_BYTES])
            row = other.engine.ledger.rows.frame(FrameKind.CHUNK, chunk.value)
            if row is None or row.base is not None:
                return "compact has moved a row that no longer lay where it was read"
        with other.reading() as reader:
            return None if contents(reader, new) == NEW else "a version has other bytes than were put in"


def _bound(work: Work, store: Store) -> Callable[[], object]:
    return lambda: work(store)
