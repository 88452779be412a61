"""Stores that have seen something: every kind of frame and of ref, and what must never come back."""

from __future__ import annotations

import math
import random
import shutil
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from casstore.digests import Digest, sha256_digest
from casstore.engine import Settings
from casstore.frames import FrameKind
from casstore.maintenance import gc
from casstore.maintenance.compact import compact
from casstore.maintenance.rebuild import rebuild
from casstore.maintenance.repair import mend
from casstore.packs import list_packs, pack_path
from casstore.refs import Ref, RefKey, RefKind
from casstore.store import Store
from casstore.testing.builders import all_contents, one_tensor, put, remove, stage

_PACK_BYTES = 6000

_Gone: TypeAlias = dict[str, tuple[Digest, bytes]]
"""Versions that must never come back, each with the bytes of its file."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A store as it was closed; one as a kill leaves it, with the index's log; its index of an hour before.

    ``files`` are the bytes of all versions by name and id; ``gone_blobs`` and ``gone_versions`` were collected or never
    committed."""

    closed: Path
    killed: Path
    earlier: Path
    files: Mapping[tuple[str, str], Mapping[str, bytes]]
    refs: tuple[Ref, ...]
    gone_blobs: tuple[Digest, ...]
    gone_versions: tuple[Digest, ...]


def opened(path: Path, *, create: bool = False, deltas: bool = True) -> Store:
    """The store, with one coder and small packs."""
    settings = Settings(pack_bytes=_PACK_BYTES, deltas=deltas)
    return Store.open(path, create=create, finder=one_tensor, workers=1, settings=settings)


def make_sample(path: Path, chance: random.Random, *, is_rebuilt: bool) -> Sample:
    """A new store in ``path``; with ``is_rebuilt`` its index is a link, as after an earlier repair."""
    closed, killed, earlier = (path / name for name in ("closed", "killed", "earlier"))
    earlier.mkdir(parents=True)
    gone: _Gone = {}
    with opened(closed, create=True) as store:
        _first_hour(store, chance)
        if is_rebuilt:
            rebuild(store.layout)
        _ = store.engine
        _copy_index(closed, earlier)
        unlinked = _second_hour(store, chance, gone)
        unlinked += _never_committed(store, chance, gone)
        for file, data in unlinked:
            file.write_bytes(data)
        files = all_contents(store)
        with store.reading() as reader:
            refs = tuple(reader.refs())
        shutil.copytree(closed, killed, symlinks=True)
    blobs = tuple(sha256_digest(data) for _, data in gone.values())
    return Sample(closed, killed, earlier, files, refs, blobs, tuple(version for version, _ in gone.values()))


def _first_hour(store: Store, chance: random.Random) -> None:
    for name in ("a", "b"):
        for number in range(chance.randrange(1, 4)):
            put(store, name, _files(chance), created_ns=number)
    put(store, "base", {"w.4": _tensor(0)})
    put(store, "removed-before", _files(chance))
    put(store, "a", {"shared": b"of both hours" * 100})


def _second_hour(store: Store, chance: random.Random, gone: _Gone) -> list[tuple[Path, bytes]]:
    """More versions, and what gc and compact make of them; gives packs that were unlinked."""
    packs = _packs(store)
    put(store, "tuned", {"w.4": _tensor(1e-5)})
    put(store, "b", {**_files(chance), "shared": b"of both hours" * 100})
    with opened(store.path, deltas=False) as whole:
        put(whole, "twin", {"w.4": _tensor(3e-5)})
    for ref in _refs(store, "removed-before"):
        remove(store, ref.key.name, ref.target)
    packs |= _packs(store)
    gc.collect(store.engine)
    packs |= _packs(store)
    compact(store.engine)
    _dropped(store, chance, gone)  # not before compact, which leaves its records out
    packs |= _packs(store)
    gc.collect(store.engine)
    _healed(store, chance)
    _move_tags(store, chance)
    later = put(store, "removed-later", _files(chance))
    remove(store, "removed-later", later)
    kept = _packs(store)
    return [(pack_path(store.layout.packs, pack_id), data) for pack_id, data in packs.items() if pack_id not in kept]


def _dropped(store: Store, chance: random.Random, gone: _Gone) -> None:
    """A version that gc takes, whose records lie in a pack with another's while its chunks do not."""
    data = chance.randbytes(2 * _PACK_BYTES)
    with store.writing() as transaction:
        gone["dropped"] = stage(transaction, "dropped", {"x": data}), data
        stage(transaction, "beside", {"small": chance.randbytes(50)})
        transaction.commit()
    remove(store, "dropped", gone["dropped"][0])


def _healed(store: Store, chance: random.Random) -> None:
    """A chunk that was damaged, set aside, and stored again: its bad copy still lies in a pack with good ones."""
    files = _files(chance)
    version = put(store, "healed", {**files, "bad": (data := chance.randbytes(700))})
    with store.reading() as reader:
        info = reader.find_blob(sha256_digest(data))
        assert info is not None
        (part,) = reader.recipe(info.recipe).parts
        row = store.engine.ledger.rows.frame(FrameKind.CHUNK, part.chunk)
        assert row is not None
    with pack_path(store.layout.packs, row.pack).open("r+b") as file:
        file.seek(row.offset + row.length - 9)
        file.write(b"something")
    with store.reading():
        mend(store.engine)
    assert put(store, "healed", {**files, "bad": data}) == version


def _move_tags(store: Store, chance: random.Random) -> None:
    for name in ("a", "b"):
        for ref in _refs(store, name):
            with store.writing() as transaction:
                transaction.set_ref(RefKey(RefKind.TAG, name, "newest"), ref.target)
                if chance.random() < 0.5:
                    transaction.set_ref(RefKey(RefKind.PIN, name, ref.target.hex), ref.target)
                transaction.commit()
    for ref in _refs(store, "a", RefKind.PIN)[:1]:
        with store.writing() as transaction:
            transaction.set_ref(ref.key, None)
            transaction.set_ref(RefKey(RefKind.TAG, "b", "dropped"), ref.target)
            transaction.commit()
            transaction.set_ref(RefKey(RefKind.TAG, "b", "dropped"), None)
            transaction.commit()


def _never_committed(store: Store, chance: random.Random, gone: _Gone) -> list[tuple[Path, bytes]]:
    """What a writer that was killed before its commit leaves: sealed packs that no line of the journal names."""
    data = chance.randbytes(1000)
    known = set(list_packs(store.layout.packs))
    with store.writing() as transaction:
        gone["never committed"] = stage(transaction, "never", {"n": data}), data
        transaction._seal()
        transaction._take_sealed(all_of_them=True)
        sealed = {pack_id: content for pack_id, content in _packs(store).items() if pack_id not in known}
    return [(pack_path(store.layout.packs, pack_id), content) for pack_id, content in sealed.items()]


def _files(chance: random.Random) -> dict[str, bytes]:
    """A few small files, some of which other versions have as well."""
    files = {f"f{number}": chance.randbytes(chance.randrange(1, 3000)) for number in range(chance.randrange(1, 4))}
    return {**files, "text": b"the same in all\n" * 50, "empty": b""}


def _tensor(step: float) -> bytes:
    """A tensor; for small steps they are alike."""
    return array("f", (math.sin(number) * 0.05 * (1 + step) for number in range(5000))).tobytes()


def _packs(store: Store) -> dict[bytes, bytes]:
    directory = store.layout.packs
    return {pack_id: pack_path(directory, pack_id).read_bytes() for pack_id in list_packs(directory)}


def _refs(store: Store, name: str, kind: RefKind = RefKind.VERSION) -> list[Ref]:
    with store.reading() as reader:
        return reader.refs(kind, name)


def _copy_index(store: Path, directory: Path) -> None:
    for path in store.glob("index.sqlite3*"):
        shutil.copy2(path, directory / path.name, follow_symlinks=False)
