"""Damaged chunks: never a wrong byte, and never too few bytes that look like all."""

from __future__ import annotations

import http.client
import random
from dataclasses import replace

import pytest

from casmodels.serve.routes import encode
from casstore.digests import sha256_digest
from casstore.frames import FrameKind
from casstore.store import Store
from casstore.testing.builders import version_key
from casstore.trees import Entry, Tree
from casstore.versions import Version
from tests.models.serve.shelf import Hub, damage, damage_record, put, wait_until

WEIGHTS = random.Random(1).randbytes(20_000_000)
NAME = "wéights 1.bin"
PATH = f"/m/resolve/main/{encode(NAME)}"


@pytest.fixture
def chunks(store: Store) -> int:
    """How many chunks the weights have."""
    put(store, "m", {NAME: WEIGHTS, "config.json": b"{}"})
    with store.reading() as reader:
        info = reader.find_blob(sha256_digest(WEIGHTS))
        assert info is not None
        return len(reader.recipe(info.recipe).parts)


def test_damage_at_the_beginning_is_answered_with_an_error(store: Store, served: Hub, chunks: int) -> None:
    damage(store, sha256_digest(WEIGHTS), 0)
    reply = served.ask(PATH)
    assert reply.error == (500, "Damaged")
    assert "damaged" in reply.headers["X-Error-Message"]


def test_damage_in_the_middle_cuts_the_connection(store: Store, served: Hub, chunks: int) -> None:
    damage(store, sha256_digest(WEIGHTS), chunks - 2)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)) as broken:
        served.ask(PATH)
    if isinstance(broken.value, http.client.IncompleteRead):
        assert WEIGHTS.startswith(broken.value.partial)
    assert served.ask(PATH, Range="bytes=0-9").body == WEIGHTS[:10]
    assert served.ask("/m/resolve/main/config.json").body == b"{}"


def test_a_damaged_tree_is_an_error_of_the_server(store: Store, served: Hub) -> None:
    version = put(store, "m", {"a": b"x"})
    damage_record(store, FrameKind.TREE, version.tree)
    for asked in ("/api/models/m", "/api/models/m/tree/main", "/m/resolve/main/a"):
        assert served.ask(asked).error == (500, "Damaged")
    for asked in ("/api/models", "/api/models?full=true", "/"):
        assert served.ask(asked).status == 200
    assert b"damaged" in served.ask("/").body


def test_a_damaged_version_does_not_hide_the_others(
    store: Store, served: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    old = put(store, "m", {"a": b"old"}, tag="v1")
    lost = put(store, "m", {"a": b"lost"}, created_ns=2, tag="v2")
    new = put(store, "m", {"a": b"new"}, created_ns=3)
    damage_record(store, FrameKind.VERSION, lost.id)
    for revision, content in (("main", b"new"), ("v1", b"old"), (old.id.hex[:40], b"old"), (new.id.hex[:7], b"new")):
        assert served.ask(f"/m/resolve/{revision}/a").body == content
    for revision in ("v2", lost.id.hex, lost.id.hex[:9]):
        reply = served.ask(f"/m/resolve/{revision}/a")
        assert reply.error == (410, "Damaged")
        assert f"m@{lost.id.hex[:12]} is damaged" in reply.headers["X-Error-Message"]
    reply = served.ask("/m/resolve/0123456789/a")
    assert reply.error == (404, "RevisionNotFound")
    assert "damaged (1)" in reply.headers["X-Error-Message"]
    commits = served.ask("/api/models/m/commits/main").json
    assert [commit["id"] for commit in commits] == [new.id.hex[:40], old.id.hex[:40]]
    refs = served.ask("/api/models/m/refs").json
    assert [(ref["name"], ref["targetCommit"]) for ref in refs["tags"]] == [("v1", old.id.hex[:40])]
    assert not [record for record in caplog.records if record.exc_info]


def test_main_is_not_an_older_version_because_the_newest_is_damaged(store: Store, served: Hub) -> None:
    old = put(store, "m", {"a": b"old"}, tag="v1")
    lost = put(store, "m", {"a": b"lost"}, created_ns=2)
    put(store, "other", {"a": b"x"})
    damage_record(store, FrameKind.VERSION, lost.id)
    for asked in ("/m/resolve/main/a", "/api/models/m", "/api/models/m/tree/main"):
        assert served.ask(asked).error == (410, "Damaged")
    assert served.ask("/m/resolve/v1/a").body == b"old"
    assert served.ask(f"/api/models/m/revision/{old.id.hex[:40]}").json["sha"] == old.id.hex[:40]
    assert served.ask("/api/models/m/refs").json["branches"] == []
    assert {model["id"] for model in served.ask("/api/models?full=true").json} == {"m", "other"}
    assert b"damaged" in served.ask("/").body


def test_a_name_of_which_nothing_can_be_read(store: Store, served: Hub) -> None:
    damage_record(store, FrameKind.VERSION, put(store, "m", {"a": b"x"}, tag="v1").id)
    put(store, "other", {"a": b"y"})
    for asked in ("/m/resolve/main/a", "/m/resolve/v1/a", "/api/models/m", "/api/models/m/commits/main"):
        assert served.ask(asked).error == (410, "Damaged")
    assert [model["id"] for model in served.ask("/api/models").json] == ["other"]
    assert served.ask("/api/models/m/refs").json["branches"] == []
    assert b"damaged" in served.ask("/").body


def test_leases_are_let_go(store: Store, served: Hub, chunks: int) -> None:
    from casstore.leases import open_leases

    damage(store, sha256_digest(WEIGHTS), chunks - 2)
    for _ in range(2):
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            served.ask(PATH)
    served.ask(PATH, Range="bytes=0-9")
    served.ask(PATH, "HEAD")
    served.ask(PATH, Range="bytes=99999999-")
    wait_until(lambda: open_leases(store.layout.leases) == [])


def lie(store: Store, path: str, given: bytes, wanted: bytes) -> None:
    """A version of the name ``lies`` whose file is other bytes than its recipe says."""
    put(store, "given", {path: given})
    with store.writing() as tx:
        info = tx.find_blob(sha256_digest(given))
        assert info is not None
        recipe = replace(tx.recipe(info.recipe), sha256=sha256_digest(wanted), git=None)
        tx.add_recipe(recipe)
        tree = tx.add_tree(Tree((Entry.file(path, recipe.sha256, recipe.size_bytes),)))
        version = tx.add_version(Version(tree, None, "test:", 1))
        tx.set_ref(version_key("lies", version), version)
        tx.commit()


def test_a_file_that_is_not_what_its_recipe_says(store: Store, served: Hub) -> None:
    lie(store, "a", b"given", b"other")
    assert served.ask("/lies/resolve/main/a").error == (500, "Damaged")
    assert served.ask("/given/resolve/main/a").body == b"given"


def test_of_a_large_one_nobody_gets_the_end(store: Store, served: Hub, chunks: int) -> None:
    lie(store, NAME, WEIGHTS, b"other")
    path = PATH.replace("/m/", "/lies/")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)) as broken:
        served.ask(path)
    # Who goes on from where it was cut gets no more.
    assert isinstance(broken.value, http.client.IncompleteRead)
    had = len(broken.value.partial)
    assert 0 < had < len(WEIGHTS)
    assert served.ask(path, Range=f"bytes={had}-").error == (500, "Damaged")
    assert served.ask(path).error == (500, "Damaged")
    assert served.ask(PATH).body == WEIGHTS


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_tree_that_gives_a_file_another_size_is_damage(store: Store, served: Hub, wrong: int) -> None:
    with store.writing() as tx:
        size_bytes = tx.add_bytes(b"content", "a").info.size_bytes + wrong
        tree = tx.add_tree(Tree((Entry.file("a", sha256_digest(b"content"), size_bytes),)))
        version = tx.add_version(Version(tree, None, "test:", 1))
        tx.set_ref(version_key("lies", version), version)
        tx.commit()
    assert served.ask("/lies/resolve/main/a").error == (500, "Damaged")
