"""Trees that nobody checked, as in a pack put in by hand, and honest ones with strange names."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from casmodels.library import Store
from casstore.digests import SHA256, Digest
from casstore.errors import InvalidInputError, StoreError
from casstore.store import Store as Engine
from casstore.testing.builders import version_key
from casstore.trees import Entry, EntryKind, Tree, path_bytes
from casstore.versions import Version
from tests.torture.groups.hostile.outside import Outside
from tests.torture.groups.hostile.stores import open_store
from tests.torture.plan import Outcome, Plan

CONTENT: Final = b"what a hostile tree brings"
_BLOB: Final = Digest(SHA256, hashlib.sha256(CONTENT).digest())
_NAMES: Final = [
    *("..", ".", "", "a", "A", "b", "é", "e\u0301", "É", "ﬁ", "fi", "ß", "ss", "a\u200c", "con", "NUL.txt", "COM1"),
    *("new\nline", "\udcff\udcfe", "\0", "x" * 255, "x" * 256, "é" * 127, "é" * 128, "..\\..", "C:", "~", "-rf", "*"),
    *(".git", ".casmodels-1.tmp", "outside", "secret", " ", "a ", "a.", "\x1b[2J", "%2e%2e", "...", "..\0"),
]
_TARGETS: Final = [
    *(
        "..",
        ".",
        "a",
        "A",
        "b/..",
        "../..",
        "../outside/secret",
        "../../secret",
        "/etc/passwd",
        "//etc",
        "a/../..",
        "b",
    ),
    *("a/b/../../..", "outside/secret", "./././..", "x/../../outside", "", "é", "new\nline", "..\\..", "a" * 5000),
]


def run(plan: Plan) -> Iterator[Outcome]:
    """Hundreds of trees in a short run, thousands in a full one."""
    chance = plan.random("trees")
    outside = Outside(plan.work / "trees")
    trees = [_hostile(chance) for _ in range(150 if plan.is_short else 3000)]
    failures: list[str] = []
    refused = 0
    with Engine.open(outside.root / "store", create=True) as engine:
        _put_by_hand(engine, trees)
    with open_store(outside.root) as store:
        for number, entries in enumerate(trees):
            is_sound = _is_sound(entries)
            refused += not is_sound
            failures += _take(store, outside, number, entries, is_sound)
    note = f"{refused} of them refused"
    yield Outcome("trees made by hand, checked out and shown in a view", len(trees), tuple(failures), note)


def _hostile(chance: random.Random) -> tuple[Entry, ...]:
    """One to four entries; most of what is wrong is wrong in one of them only."""
    entries: dict[str, Entry] = {}
    for _ in range(chance.randint(1, 4)):
        path = "/".join(chance.choices(_NAMES, k=chance.choice((1, 1, 2, 3))))
        if chance.random() < 0.1:
            path = f"/{path}"
        if chance.random() < 0.35:
            entries[path] = Entry(path, EntryKind.LINK, mode=0o777, target=chance.choice(_TARGETS))
        elif chance.random() < 0.1:
            entries[path] = Entry(path, EntryKind.DIRECTORY, mode=0o755)
        else:
            wrong = 0 if chance.random() < 0.9 else chance.choice((-1, 1, 1 << 40))
            entries[path] = Entry(path, EntryKind.FILE, _BLOB, len(CONTENT) + wrong, 0o644)
    return tuple(sorted(entries.values(), key=lambda entry: path_bytes(entry.path)))


def _is_sound(entries: tuple[Entry, ...]) -> bool:
    try:
        Tree.of(entries)
    except InvalidInputError:
        return False
    return all(entry.size_bytes == len(CONTENT) for entry in entries if entry.kind is EntryKind.FILE)


def _put_by_hand(engine: Engine, trees: list[tuple[Entry, ...]]) -> None:
    """All in one transaction; `Tree` itself checks nothing, `Tree.of` would."""
    with engine.writing() as transaction:
        transaction.add_bytes(CONTENT, "content")
        for number, entries in enumerate(trees):
            version = Version(transaction.add_tree(Tree(entries)), None, "test:", number, metadata={})
            digest = transaction.add_version(version)
            transaction.set_ref(version_key(f"t{number}", digest), digest)
        transaction.commit()


def _take(store: Store, outside: Outside, number: int, entries: tuple[Entry, ...], is_sound: bool) -> Iterator[str]:
    """Check a tree out, and show it in a view; one sentence for each thing that is not as it should be."""
    shown = f"the tree {[(entry.path, entry.target) for entry in entries]!r:.600}"
    out, view = outside.root / "out", outside.root / "view"
    try:
        store.checkout(f"t{number}", out)
        if not is_sound:
            yield f"{shown} was checked out"
        yield from (f"of {shown}, {what}" for what in _wrong(out, entries))
    except StoreError as error:
        if is_sound and "on this file system" not in error.message and "one name" not in error.message:
            yield f"{shown} was refused: {error.message:.200}"
    except Exception as error:
        yield f"{shown}, checked out, raised {error!r:.200}"
    yield from (f"after the checkout of {shown}, {what}" for what in outside.touched(out))
    if number % 5 == 0:
        try:
            store.view([f"t{number}"], path=view)
        except StoreError:
            pass
        except Exception as error:
            yield f"{shown}, in a view, raised {error!r:.200}"
        yield from (f"after the view of {shown}, {what}" for what in outside.touched(view))
    for directory in (out, view):
        shutil.rmtree(directory, ignore_errors=True)


def _wrong(out: Path, entries: tuple[Entry, ...]) -> Iterator[str]:
    """What does not lie there as the tree says, byte for byte and name for name."""
    wanted = {entry.path: entry for entry in entries if entry.kind is not EntryKind.DIRECTORY}
    there = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_symlink() or not path.is_dir()}
    if there.keys() != wanted.keys():
        yield f"there are {sorted(there.keys() ^ wanted.keys())!r:.300} too many or too few"
    for name, path in there.items():
        entry = wanted.get(name)
        if path.is_symlink():
            if entry is not None and str(path.readlink()) != str(Path(entry.target)):
                yield f"{name!r} leads to {path.readlink()!r}"
        elif path.read_bytes() != CONTENT:
            yield f"{name!r} has other bytes"
