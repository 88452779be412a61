"""What must hold after any cut."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from casstore.errors import DamagedError
from casstore.maintenance import gc
from casstore.maintenance.leftovers import remove_leftovers
from casstore.maintenance.rebuild import rebuild
from casstore.maintenance.verify import check
from casstore.packs import list_packs
from casstore.refs import RefKind
from casstore.testing.builders import all_contents, contents, put
from tests.crash.operations import EXPECTED, OPERATIONS, expected_new, heal, opened, tree

KNOWN = {"FORMAT", "commit.lock", "downloads", "journal", "leases", "maintenance.lock", "packs", "reserve"}
"""What may lie in a store's directory, the index aside, once a gc has been there."""


def check_survival(path: Path, operation: str, acknowledged: frozenset[str] = frozenset()) -> None:
    """The store opens unaided, all that was finished is there and whole (what is damaged, once it was healed), nothing
    is half there, one gc takes all that leaked, and it can be written."""
    wanted = OPERATIONS[operation]
    hurt = wanted.hurt - acknowledged
    if hurt:
        check_spared(path, wanted.stays, hurt)
        heal(path)
    with opened(path, create=wanted.prepare is None) as store:
        found = {name: files for (name, _), files in all_contents(store).items()}
        expected = {**EXPECTED, "new": expected_new(operation)}
        assert found.keys() <= wanted.stays | wanted.comes | (wanted.goes - acknowledged)
        assert found.keys() >= wanted.stays | (wanted.comes & acknowledged)
        assert all(files == expected[name] for name, files in found.items())
        with store.reading():
            checked = check(store.engine, data=True)
        assert not checked.findings
        assert not checked.broken
        # The journal alone says the same as the index did.
        rebuilt = rebuild(store.layout)
        assert (rebuilt.lost_packs, rebuilt.adopted_packs, rebuilt.damaged_lines) == ((), (), 0)
        assert {name: files for (name, _), files in all_contents(store).items()} == found
        remove_leftovers(store.engine)
        gc.collect(store.engine)
        assert {name: files for (name, _), files in all_contents(store).items()} == found
        put(store, "after", tree(5, 9))  # shares what the operation was putting in
        with store.reading():
            checked = check(store.engine, data=True)
        assert not checked.findings
        assert not checked.broken
        assert set(list_packs(path / "packs")) == store.engine.ledger.rows.pack_ids()
    left = {entry.name for entry in path.iterdir() if not entry.name.startswith("index.sqlite3")}
    assert left <= KNOWN
    assert {entry.suffix for entry in (path / "packs").iterdir()} == {".pack"}
    assert list((path / "leases").iterdir()) == []


def check_spared(path: Path, names: Set[str], hurt: Set[str]) -> None:
    """All of these are there; those that are ``hurt`` give the right bytes or an error, the others are whole."""
    with opened(path) as store, store.reading() as reader:
        found = {ref.key.name: ref.target for ref in reader.refs(RefKind.VERSION)}
        assert found.keys() == names
        for name, version in found.items():
            try:
                assert contents(reader, version) == EXPECTED[name]
            except DamagedError:
                assert name in hurt
