"""Recipes that lie about the blob that they make: found, named, set aside, and put right where that is possible."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from casstore.digests import Digest, git_blob_digest, sha256_digest
from casstore.engine import Engine
from casstore.errors import DamagedError
from casstore.frames import FrameKind
from casstore.index.rows import State
from casstore.maintenance import sums, verify
from casstore.maintenance.rebuild import rebuild
from casstore.maintenance.repair import mend, set_aside
from casstore.maintenance.verify import Checked, check
from casstore.recipes import Part, Recipe
from casstore.refs import RefKind
from casstore.store import Store
from casstore.testing.builders import GRID_BYTES, contents, noise, put, version_key
from casstore.trees import Entry, Tree
from casstore.versions import Version

Opener = Callable[..., Store]

DATA = noise(1, 3 * GRID_BYTES)
OTHER = noise(2, 3 * GRID_BYTES)
WANTED = noise(3, 3 * GRID_BYTES)
"""What the lying recipe says that it makes."""


def recipe_of(store: Store, data: bytes) -> Recipe:
    with store.reading() as reader:
        info = reader.find_blob(sha256_digest(data))
        assert info is not None
        return reader.recipe(info.recipe)


def put_recipe(store: Store, recipe: Recipe, name: str) -> Digest:
    """A version of a file ``a`` that is made by that recipe, and an honest one beside it."""
    with store.writing() as transaction:
        transaction.add_recipe(recipe)
        other = transaction.add_bytes(OTHER, "b").info
        tree = Tree.of([Entry.file("a", recipe.sha256, recipe.size_bytes), Entry.file("b", other.sha256, len(OTHER))])
        version = transaction.add_version(Version(transaction.add_tree(tree), None, "test:", 1))
        transaction.set_ref(version_key(name, version), version)
        transaction.commit()
    return version


def lying(store: Store) -> tuple[Digest, Recipe]:
    """A store with an honest version, and one whose file ``a`` is made by a recipe that lies."""
    put(store, "honest", {"a": DATA, "b": OTHER})
    recipe = replace(recipe_of(store, DATA), sha256=sha256_digest(WANTED), git=None)
    return put_recipe(store, recipe, "lying"), recipe


def checked(store: Store, name: str | None = None, **options: object) -> Checked:
    with store.reading() as reader:
        refs = reader.refs(RefKind.VERSION, name) if name is not None else None
        return check(store.engine, refs, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [None, "lying"])
def test_a_false_sha256_is_named_with_who_suffers(store: Store, name: str | None) -> None:
    version, recipe = lying(store)
    found = checked(store, name, data=True)
    assert found.broken.keys() == {(FrameKind.RECIPE, recipe.digest.value)}
    (finding,) = found.findings
    assert (finding.name, finding.version, finding.path) == ("lying", version, "a")
    assert f"another SHA-256 ({sha256_digest(DATA).hex}) than it says" in finding.reason
    assert checked(store, "honest", data=True).broken == {}
    assert checked(store).findings == ()  # only its bytes tell


def test_a_false_git_id_is_named_and_put_right(store: Store) -> None:
    put(store, "honest", {"a": DATA})
    right = recipe_of(store, DATA)
    assert right.git == git_blob_digest(DATA)
    with store.writing() as transaction:  # the true recipe is not there
        store.engine.ledger.database.execute("DELETE FROM frames WHERE digest = ?", (right.digest.value,))
        transaction.add_recipe(replace(right, git=git_blob_digest(WANTED)))
        transaction.commit()
    (finding,) = checked(store, data=True).findings
    assert (finding.name, finding.path) == ("honest", "a")
    assert "another git id" in finding.reason
    with store.writing() as transaction:
        mend(store.engine, instead=transaction.add_recipe)
        transaction.commit()
    assert recipe_of(store, DATA) == right
    assert checked(store, data=True).findings == ()


def test_what_is_set_aside_is_a_miss_and_stored_again(store: Store) -> None:
    version, _ = lying(store)
    with store.reading() as reader:
        mend(store.engine)
        assert reader.find_blob(sha256_digest(WANTED)) is None
        assert reader.find_blob(sha256_digest(DATA)) is not None
    put(store, "again", {"a": WANTED})
    found = checked(store, data=True)
    assert (found.findings, found.broken) == ((), {})
    with store.reading() as reader:
        assert contents(reader, version) == {"a": WANTED, "b": OTHER}


def test_another_recipe_takes_the_place_of_one_that_lies(store: Store) -> None:
    version, recipe = lying(store)
    with store.writing() as transaction:
        store.engine.ledger.rows.set_state(FrameKind.RECIPE, [recipe.digest.value], State.DAMAGED)
        transaction.add_bytes(WANTED, "a")
        transaction.commit()
    rows = store.engine.ledger.rows
    # As after a rebuild, which takes the first of several.
    rows.set_state(FrameKind.RECIPE, [recipe.digest.value], State.LIVE)
    rows.database.execute("UPDATE blobs SET recipe = ? WHERE sha256 = ?", (recipe.digest.value, recipe.sha256.value))
    assert [finding.path for finding in checked(store, data=True).findings] == ["a"]
    with store.reading() as reader:
        mend(store.engine)
        assert contents(reader, version) == {"a": WANTED, "b": OTHER}
    assert checked(store, data=True).findings == ()


def test_a_recipe_is_not_right_while_a_chunk_of_it_is_damaged(store: Store) -> None:
    """Nobody can tell then, so a later check looks again, however recently the pack was read."""
    _, recipe = lying(store)
    since_ns = time.time_ns()
    rows = store.engine.ledger.rows
    for digest in (recipe.parts[0].chunk, recipe.parts[2].chunk):
        rows.set_state(FrameKind.CHUNK, [digest], State.DAMAGED)
    assert checked(store, data=True).broken == {}
    rows.set_state(FrameKind.CHUNK, [part.chunk for part in recipe.parts], State.LIVE)
    assert [finding.path for finding in checked(store, data=True, since_ns=since_ns).findings] == ["a"]


def test_the_whole_store_is_compared_once_and_a_name_each_time(
    store: Store, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", {"a": DATA})
    compared: list[Digest] = []

    def counted(engine: Engine, digest: Digest, progress: object) -> None:
        compared.append(digest)

    monkeypatch.setattr(verify, "falsehood", counted)

    def compared_by(store: Store, name: str | None = None) -> list[Digest]:
        compared.clear()
        checked(store, name, data=True)
        return list(compared)

    first = recipe_of(store, DATA).digest
    assert (compared_by(store, "a"), compared_by(store), compared_by(store)) == ([first], [first], [])
    put(store, "b", {"a": DATA, "b": OTHER})
    second = recipe_of(store, OTHER).digest
    assert (compared_by(store), compared_by(store), compared_by(store, "a")) == ([second], [], [first])
    store.close()
    rebuild(store.layout)
    assert set(compared_by(opened())) == {first, second}  # whatever an index says that is not there any more


def test_damage_is_said_of_the_chunk_alone(store: Store) -> None:
    put(store, "honest", {"a": DATA})
    recipe = recipe_of(store, DATA)
    row = store.engine.ledger.rows.frame(FrameKind.CHUNK, recipe.parts[1].chunk)
    assert row is not None
    path = next(store.layout.packs.iterdir())
    content = bytearray(path.read_bytes())
    content[row.offset + row.length - 1] ^= 1
    path.write_bytes(content)
    found = checked(store, data=True)
    assert found.broken.keys() == {(FrameKind.CHUNK, row.digest)}
    with store.reading():
        assert set_aside(store.engine, found) == 1


def test_parts_in_any_order_and_of_any_length(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "_AHEAD", 3)
    put(store, "honest", {"a": DATA})
    chunks = [part.chunk for part in recipe_of(store, DATA).parts]
    parts = [Part(chunks[number % 3], number, 100 + number) for number in range(20)]
    data = b"".join(DATA[GRID_BYTES * (n % 3) + n : GRID_BYTES * (n % 3) + 100 + 2 * n] for n in range(20))
    put_recipe(store, Recipe(sha256_digest(data), len(data), tuple(parts)), "parts")
    progress: list[int] = []
    with store.reading():
        digest = recipe_of(store, data).digest
        assert sums.falsehood(store.engine, digest, progress.append) is None
    assert progress == [100 + number for number in range(20)]
    past = Recipe(sha256_digest(data), 100, (Part(chunks[0], GRID_BYTES - 50, 100),))
    put_recipe(store, past, "past")
    with store.reading(), pytest.raises(DamagedError, match="past its end"):
        sums.falsehood(store.engine, past.digest)
