"""What must hold in a scene after a command was killed, and after the commands that come next."""

from __future__ import annotations

import contextlib
import json
from hashlib import sha256
from pathlib import Path
from typing import cast

from casmodels.library import Store
from casmodels.results import EntryResult
from casmodels.signatures.bundles import Bundle
from casmodels.views.targets import is_temporary
from casstore.engine import Engine as Parts
from casstore.errors import DamagedError
from casstore.journal import outcome
from casstore.layout import Layout
from casstore.packs import list_packs
from casstore.refs import RefKind
from casstore.store import Store as Engine
from tests.crash import store_checks
from tests.crash.checks import KNOWN
from tests.crash.scene import LISTED, REPO, SMALL, Digests, Expected, digest_of, digests_in, files_in

SIGNED = "out/model.sig"
"""Where `sign` writes a signature to."""


def check(work: Path, expected: Expected, command: str, said: str) -> None:
    """All that was finished is there to the byte, but for files that suffer from damage; nothing is half there, and
    what the command has said is true."""
    with Store(work / "scene" / "store") as store:
        engine = store._context.engine()
        here = _readable(engine)
        promised = set() if command == "remove" else _versions_in(said)
        lost = (expected.versions.keys() | promised) - here.keys()
        if command == "remove":
            lost = {target for target in lost if not target.startswith("many@")}
        assert not lost, f"versions are gone: {sorted(lost)}"
        for target in expected.versions.keys() & here.keys():
            hurt = expected.hurt.get(target, ())
            unread = expected.versions[target].keys() - here[target].keys()
            assert unread <= set(hurt), f"{target} lacks {sorted(unread)}"
            assert here[target].items() <= expected.versions[target].items(), f"{target} holds other bytes"
        suffering = {(target, path) for target, paths in expected.hurt.items() for path in paths}
        damaged = [
            damage
            for damage in store.verify(data=True).damaged
            if (f"{damage.model}@{damage.version}", damage.path) not in suffering
        ]
        assert not damaged, f"verify finds damage: {damaged}"
        _check_journal(engine.engine)
    _check_checkout(work, expected)
    _check_view(work / "scene" / "view", expected)
    _check_view(work / "scene" / "models" / "cache" / "huggingface", expected)
    _check_categories(work, expected)
    if said:
        check_done(work, expected, command)


def check_done(work: Path, expected: Expected, command: str) -> None:
    """What a command does is there once it has ended."""
    scene = work / "scene"
    match command:
        case "checkpoint" | "pull" | "pull-list" | "quantize":
            name, files = {
                "checkpoint": ("kept", expected.model),
                "pull": (REPO, expected.hub),
                "pull-list": (LISTED, expected.hub),
                "quantize": (SMALL, expected.small),
            }[command]
            with Store(scene / "store") as store:
                _check_version(store, name, files)
        case "checkout":
            assert digests_in(scene / "out") == expected.new, "the checkout is not what was asked for"
        case "view":
            models = {folder.name: _snapshot(folder) for folder in (scene / "view" / "hub").glob("models--*")}
            assert len(models) == len({target.partition("@")[0] for target in expected.versions}), "a model is missing"
            assert all(models.values()), "a model has no snapshot"
            left = [path for path in scene.rglob("*") if is_temporary(path.name)]
            assert not left, f"temporary files or links are left: {left}"
        case "view-categories":
            assert digests_in(scene / "models/other/kept") == expected.new, "it is not the newest version"
            hub = [files for target, files in expected.versions.items() if target.startswith(f"{REPO}@")]
            assert digests_in(scene / "models/other/name") in hub, "the model of the Hub is not there"
            assert len(list((scene / "models/configs").iterdir())) == 2, "a list is missing, or something is left"
            left = [path for path in scene.rglob("*") if is_temporary(path.name)]
            assert not left, f"temporary files are left: {left}"
        case "sign":
            with Store(scene / "store") as store:
                for signature in (None, scene / SIGNED):
                    assert store.verify_signature("kept@new", scene / "key" / "public.pem", signature).files
        case "remove":
            with Store(scene / "store") as store:
                assert not [version for version in store.versions() if version.name == "many"], "it is still there"


def check_collected(work: Path) -> None:
    """After a gc there is no file that the store does not need."""
    scene = work / "scene"
    store_checks.check_collected(scene / "store")
    left = [path for path in files_in(scene) if is_temporary(path.name)]
    assert not left, f"these are left: {left}"
    layout = Layout(scene / "store")
    names = {path.name for path in layout.root.iterdir() if not path.name.startswith(layout.index.name)}
    assert names <= KNOWN, f"these are left: {names - KNOWN}"


def _readable(engine: Engine) -> dict[str, Digests]:
    """The files of each version that can be read."""
    here: dict[str, Digests] = {}
    with engine.reading() as reader:
        for ref in reader.refs(RefKind.VERSION):
            files = here.setdefault(f"{ref.key.name}@{ref.target.hex}", {})
            for entry in reader.tree(reader.version(ref.target).tree).files:
                assert entry.blob is not None
                with contextlib.suppress(DamagedError):
                    files[entry.path] = sha256(b"".join(reader.open_blob(entry.blob).stream())).hexdigest()
    return here


def _versions_in(said: str) -> set[str]:
    """The versions that a command has said, on stdout and in JSON, to be there."""
    document = json.loads(said) if said else []
    results = document if isinstance(document, list) else [document]
    return {f"{result['name']}@{result['version']}" for result in results if result.get("version")}


def _check_version(store: Store, target: str, files: Digests) -> None:
    entries = cast("list[EntryResult]", store.ls(target))
    there = {entry.path: sha256(b"".join(store.cat(target, entry.path))).hexdigest() for entry in entries}
    assert there == files, f"{target} holds other files"


def _check_journal(engine: Parts) -> None:
    """The journal alone says what the index says, and every pack that it counts is there."""
    journal = engine.ledger.journal
    packs, moved = outcome(operation for entry in journal.entries(journal.begins()) for operation in entry.operations)
    assert packs == engine.ledger.rows.pack_ids(), "journal and index count other packs"
    assert moved == {ref.key: ref.target for ref in engine.ledger.refs.all()}, "journal and index have other refs"
    missing = packs - set(list_packs(engine.layout.packs))
    assert not missing, f"packs that count are gone: {[pack_id.hex() for pack_id in missing]}"


def _check_checkout(work: Path, expected: Expected) -> None:
    """Every file under its name is whole: the old one or the new one."""
    if (work / "scene" / SIGNED).exists():
        Bundle.read((work / "scene" / SIGNED).read_bytes(), SIGNED)
    for path, digest in digests_in(work / "scene" / "out").items():
        if not is_temporary(Path(path).name) and path != Path(SIGNED).name:
            assert digest in (expected.old.get(path), expected.new.get(path)), f"{path} of the checkout is torn"


def _check_categories(work: Path, expected: Expected) -> None:
    """Every file under its name is whole."""
    models = work / "scene" / "models"
    blobs = {digest for files in expected.versions.values() for digest in files.values()}
    for path in files_in(models / "other"):
        if not is_temporary(path.name):
            assert digest_of(path) in blobs, f"{path} is torn"
    for path in files_in(models / "configs"):
        if not is_temporary(path.name):
            assert "models" in json.loads(path.read_text()), f"{path} is torn"


def _check_view(view: Path, expected: Expected) -> None:
    """What a snapshot has is right, and a snapshot that a ref names is whole."""
    known = {frozenset(files.items()) for files in expected.versions.values()}
    blobs = {digest for files in expected.versions.values() for digest in files.values()}
    for folder in (view / "hub").glob("models--*"):
        for path in files_in(folder / "blobs"):
            if not is_temporary(path.name):
                assert digest_of(path) in blobs, f"{path} is torn"
        snapshot = _snapshot(folder)
        if snapshot is not None:
            assert frozenset(snapshot.items()) in known, f"the snapshot of {folder.name} is not whole"


def _snapshot(folder: Path) -> Digests | None:
    """What the snapshot holds that `main` names, links followed; None while nothing is named."""
    ref = folder / "refs" / "main"
    if not ref.exists():
        return None
    snapshot = folder / "snapshots" / ref.read_text()
    found = (path for path in snapshot.rglob("*") if not path.is_dir())
    return {path.relative_to(snapshot).as_posix(): digest_of(path) for path in found}
