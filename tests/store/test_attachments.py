"""What is attached to a version lives while its ref does, is checked as a part of it, and is no version of the name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from casstore.digests import Digest, sha256_digest
from casstore.frames import FrameKind
from casstore.index.rows import State
from casstore.maintenance import gc
from casstore.maintenance.heal import find_lost
from casstore.maintenance.rebuild import rebuild
from casstore.maintenance.verify import Checked, check
from casstore.packs import pack_path
from casstore.refs import RefKey, RefKind
from casstore.store import Store
from casstore.testing.builders import all_contents, contents, noise, put
from casstore.trees import Entry, Tree
from casstore.versions import Version

Opener = Callable[..., Store]
DATA, NOTE, OTHER = (noise(seed, 700) for seed in (1, 2, 3))


def attach(store: Store, name: str, version: Digest, note: bytes, *, created_ns: int = 1) -> Digest:
    """Attach a file ``note`` to a version under that word."""
    with store.writing() as transaction:
        stored = transaction.add_bytes(note, "note")
        tree = transaction.add_tree(Tree.of([Entry.file("note", stored.info.sha256, stored.info.size_bytes)]))
        metadata = {"kind": "note", "attached_to": name}
        record = transaction.add_version(Version(tree, version, "", created_ns, metadata=metadata))
        transaction.set_ref(RefKey.attachment(name, version, "note"), record)
        transaction.commit()
    return record


def attached(store: Store, name: str, version: Digest) -> dict[str, bytes] | None:
    with store.reading() as reader:
        ref = reader.ref(RefKey.attachment(name, version, "note"))
        return contents(reader, ref.target) if ref is not None else None


def checked(store: Store) -> Checked:
    with store.reading():
        return check(store.engine, data=True)


def test_the_key_tells_what_it_is_attached_to() -> None:
    version = Digest("blake3", bytes(range(32)))
    key = RefKey.attachment("org/name", version, "note")
    assert (key.kind, key.name, key.attached_to) == (RefKind.PIN, "org/name", version)


@pytest.mark.parametrize("label", ["ab" * 32, "ab" * 32 + ".", "ab" * 31 + ".note", "ab" * 32 + ".No", "v1.note"])
def test_other_refs_are_attached_to_nothing(label: str) -> None:
    assert RefKey(RefKind.PIN, "a", label).attached_to is None
    assert RefKey(RefKind.TAG, "a", "ab" * 32 + ".note").attached_to is None


def test_gc_keeps_it_while_its_ref_is_there(small_packs: Store) -> None:
    version = put(small_packs, "a", {"a": DATA})
    attach(small_packs, "a", version, NOTE)
    gc.collect(small_packs.engine)
    assert attached(small_packs, "a", version) == {"note": NOTE}
    assert list(all_contents(small_packs)) == [("a", version.hex)]
    result = checked(small_packs)
    assert (result.findings, result.versions) == ((), 1)
    with small_packs.writing() as transaction:
        transaction.set_ref(RefKey.attachment("a", version, "note"), None)
        transaction.commit()
    gc.collect(small_packs.engine)
    with small_packs.reading() as reader:
        assert reader.find_blob(sha256_digest(NOTE)) is None
        assert reader.find_blob(sha256_digest(DATA)) is not None


def test_damage_of_it_is_told_as_its_version_s(small_packs: Store) -> None:
    version = put(small_packs, "a", {"a": DATA})
    attach(small_packs, "a", version, NOTE)
    with small_packs.reading() as reader:
        info = reader.find_blob(sha256_digest(NOTE))
        assert info is not None
        chunk = reader.recipe(info.recipe).parts[0].chunk
    row = small_packs.engine.ledger.rows.frame(FrameKind.CHUNK, chunk)
    assert row is not None
    with pack_path(small_packs.layout.packs, row.pack).open("r+b") as file:
        file.seek(row.offset + row.length - 1)
        file.write(b"\0" if NOTE[-1] else b"\1")
    (finding,) = checked(small_packs).findings
    assert (finding.name, finding.version, finding.path) == ("a", version, "note")


def test_what_is_lost_of_it_can_be_healed(small_packs: Store) -> None:
    version = put(small_packs, "a", {"a": DATA})
    attach(small_packs, "a", version, NOTE)
    rows = small_packs.engine.ledger.rows
    recipe = rows.recipe_of(sha256_digest(NOTE))
    assert recipe is not None
    with small_packs.engine.ledger.locked():
        rows.set_state(FrameKind.RECIPE, [recipe.value], State.DAMAGED)
    with small_packs.reading():
        assert set(find_lost(small_packs.engine).blobs) == {sha256_digest(NOTE)}


@pytest.mark.parametrize("lost", [("index.sqlite3",), ("journal", "index.sqlite3")])
def test_a_rebuild_attaches_it_again(small_packs: Store, opened: Opener, root: Path, lost: tuple[str, ...]) -> None:
    version = put(small_packs, "a", {"a": DATA})
    attach(small_packs, "a", version, OTHER, created_ns=1)
    attach(small_packs, "a", version, NOTE, created_ns=2)
    small_packs.close()
    for name in lost:
        for path in root.glob(f"{name}*"):
            path.unlink()
    rebuild(small_packs.layout)
    again = opened()
    assert attached(again, "a", version) == {"note": NOTE}
    assert list(all_contents(again)) == [("a", version.hex)]
    assert checked(again).findings == ()


def test_what_only_looks_like_one_comes_back_as_a_version(small_packs: Store, opened: Opener, root: Path) -> None:
    """A record that says what it is attached to, but not how, must not be lost."""
    with small_packs.writing() as transaction:
        tree = transaction.add_tree(Tree.of([]))
        for kind, parent in (("No word", Digest("blake3", bytes(32))), ("note", None)):
            metadata = {"kind": kind, "attached_to": "a", "name": "b"}
            record = transaction.add_version(Version(tree, parent, "", 1, metadata=metadata))
            transaction.set_ref(RefKey(RefKind.VERSION, "b", record.hex), record)
        transaction.commit()
    small_packs.close()
    for path in (root / "journal", *root.glob("index.sqlite3*")):
        path.unlink()
    rebuild(small_packs.layout)
    assert [name for name, _ in all_contents(opened())] == ["b", "b"]
