"""The commands that faults are put into, the store that they work on, and what must be true once each is through."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from casmodels import config
from casmodels.library import PullOptions, Store
from casmodels.results import EntryResult
from tests.hub import FakeHub
from tests.models.signatures.pems import write_pair

REPO = "org/name"
_FILES = 4
_FILE_BYTES = 20_000
_OWN_FILE = "notes.txt"
_OWN_TEXT = b"the user's own\n"
_BLOB = re.compile(r"[0-9a-f]{64}\Z")

Digests = Mapping[str, str]
"""Paths, and the SHA-256 of what lies there."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A directory with the store and all that commands read and write; ``versions`` are name@id and their files, and
    ``commands`` what is run there."""

    directory: Path
    versions: Mapping[str, Digests]
    before: Digests
    after: Digests
    upstream: Digests

    @classmethod
    def load(cls, directory: Path) -> Scene:
        """The scene that `make` wrote down beside the directory."""
        return cls(directory, **json.loads(_record(directory).read_text()))

    @property
    def store(self) -> Path:
        """The store."""
        return self.directory / "store"

    @property
    def out(self) -> Path:
        """A checkout, with a file of the user's own in it."""
        return self.directory / "out"

    def arguments(self, command: Command) -> list[str]:
        """The command line."""
        rest = [part.format(scene=self.directory) for part in command.arguments]
        return ["--store", str(self.store), "-q", *rest]

    def kept(self, command: Command) -> dict[str, Digests]:
        """The versions that must be there whatever became of the command."""
        return {
            target: files for target, files in self.versions.items() if target.partition("@")[0] != command.takes_away
        }

    def check_files(self) -> None:
        """Outside the store, too, nothing lies torn under its name."""
        assert (self.out / _OWN_FILE).read_bytes() == _OWN_TEXT, "the user's own file has changed"
        for path, sha256 in _digests_in(self.out).items():
            if not path.startswith(".casmodels-") and path != _OWN_FILE:
                assert sha256 in (self.before.get(path), self.after.get(path)), f"{path} in the checkout is torn"
        known = {sha256 for files in self.versions.values() for sha256 in files.values()}
        for path, sha256 in _digests_in(self.directory / "shelf" / "other").items():
            if not Path(path).name.startswith(".casmodels-"):
                assert sha256 in known, f"{path} in the view by category is torn"
        blobs = [*(self.directory / "hf").rglob("blobs/*"), *(self.directory / "shelf" / "cache").rglob("blobs/*")]
        for blob in blobs:
            if _BLOB.match(blob.name):
                assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name, f"the view's {blob.name} is torn"


@dataclass(frozen=True, slots=True)
class Command:
    """A command line; ``takes_away`` is the name whose versions it removes, ``again`` the exit codes of a second run,
    and ``has_worked`` raises AssertionError unless it has done all that it is to do."""

    arguments: tuple[str, ...]
    has_worked: Callable[[Scene, Store], None]
    takes_away: str = ""
    again: frozenset[int] = frozenset({0})


def _is_pulled(scene: Scene, store: Store) -> None:
    assert _digests_of(store, REPO) == dict(scene.upstream), "the pull has not brought what the Hub has"


def _is_saved(scene: Scene, store: Store) -> None:
    assert _digests_of(store, "kept") == _digests_in(scene.directory / "model"), "the checkpoint is another"


def _is_checked_out(scene: Scene, _store: Store) -> None:
    assert _digests_in(scene.out).items() >= dict(scene.after).items(), "the checkout is not complete"


def _is_in_view(scene: Scene, store: Store) -> None:
    (snapshot,) = (scene.directory / "hf").rglob("snapshots/*")
    assert _digests_in(snapshot) == _digests_of(store, REPO), "the view is not complete"


def _is_shelved(scene: Scene, store: Store) -> None:
    for name, directory in (("kept", "other/kept"), (REPO, "other/name")):
        assert _digests_in(scene.directory / "shelf" / directory) == _digests_of(store, name), f"{name} is not complete"
    assert len(list((scene.directory / "shelf" / "configs").glob("*.json"))) == 2, "a list is missing"


def _is_removed(_scene: Scene, store: Store) -> None:
    assert "doomed" not in {version.name for version in store.versions()}, "it is there still"


def _is_tagged(_scene: Scene, store: Store) -> None:
    assert any("v9" in version.tags for version in store.versions("kept")), "the tag is not there"


def _is_signed(scene: Scene, store: Store) -> None:
    assert store.verify_signature("kept", scene.directory / "key" / "public.pem").source == "kept", "it is not signed"


def _is_in_order(_scene: Scene, store: Store) -> None:
    assert store.verify(data=True).ok, "something is damaged"


COMMANDS = {
    "pull": Command(("pull", REPO, "--workers", "2"), _is_pulled),
    "checkpoint": Command(("checkpoint", "kept", "{scene}/model"), _is_saved),
    "gc": Command(("gc",), _is_in_order),
    "compact": Command(("compact",), _is_in_order),
    "verify": Command(("verify", "--data"), _is_in_order),
    "repair": Command(("repair",), _is_in_order),
    "checkout": Command(("checkout", "kept", "{scene}/out"), _is_checked_out),
    "view": Command(("view", REPO, "--path", "{scene}/hf"), _is_in_view),
    "view-categories": Command(("view", "--layout", "categories", "{scene}/shelf"), _is_shelved),
    "remove": Command(("remove", "doomed"), _is_removed, "doomed", frozenset({0, 3})),
    "tag": Command(("tag", "kept", "v9"), _is_tagged),
    "sign": Command(("sign", "kept", "--key", "{scene}/key/private.pem"), _is_signed),
}


def make(directory: Path, hub: FakeHub, environ: Mapping[str, str], chance: random.Random) -> None:
    """Make the scene; its record lies beside it, so that the directory can be put back from a copy."""
    write_pair(directory / "key")
    upstream = {f"file-{number}.bin": chance.randbytes(_FILE_BYTES + number) for number in range(_FILES)}
    hub.add(REPO, upstream)
    model = directory / "model"
    model.mkdir(parents=True)
    with Store(config=config.load(store=directory / "store", environ=dict(environ))) as store:
        store.pull([REPO], PullOptions(low_priority=False, include=("file-0.bin",)))
        for name in ("kept", "doomed", "garbage", "kept"):
            for number in range(3):
                (model / f"{number}.bin").write_bytes(chance.randbytes(_FILE_BYTES))
            (model / "same.bin").write_bytes(b"same" * 3000)
            store.checkpoint(name, model)
        store.remove("garbage")
        store.checkout("kept@~1", directory / "out")
        (directory / "out" / _OWN_FILE).write_bytes(_OWN_TEXT)
        versions = {f"{each.name}@{each.version}": each for each in store.versions()}
        record = {
            "versions": {target: _digests_of(store, target) for target in versions},
            "before": _digests_of(store, "kept@~1"),
            "after": _digests_of(store, "kept"),
            "upstream": {path: hashlib.sha256(data).hexdigest() for path, data in upstream.items()},
        }
    (model / "0.bin").write_bytes(chance.randbytes(_FILE_BYTES))
    _record(directory).write_text(json.dumps(record))


def put_back(directory: Path, template: Path) -> None:
    """Make the scene what it was; what is mounted there stays so."""
    for path in directory.iterdir() if directory.exists() else ():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    shutil.copytree(template, directory, symlinks=True, dirs_exist_ok=True)


def _record(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.json")


def _digests_of(store: Store, target: str) -> dict[str, str]:
    return {
        entry.path: hashlib.sha256(b"".join(store.cat(target, entry.path))).hexdigest()
        for entry in store.ls(target)
        if isinstance(entry, EntryResult)
    }


def _digests_in(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }
