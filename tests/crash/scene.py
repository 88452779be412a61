"""A store with work for every command, the directories beside it, and what has to be in them.

A scene lies in ``<work>/scene``. It is kept as a template, from which it is laid out anew for each kill:

    store   `kept` with the tags `old` and `new`; `many`, of many small packs; `graph`, an ONNX model; a model of the
            Hub, a part of it pulled; packs that nothing needs
    out     a checkout of `kept@old`
    model   what is checkpointed
    list.json   a download list of the same model of the Hub, under a name of the user's own
    key     the two files of a key that versions are signed with

A second template is the first with a family of models in the store, damaged since, and `copies` of what it was
(`damage`). The commands are run in a scene, and make `view` or `models` there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from random import Random

from casmodels import config
from casmodels.library import PullOptions, Store
from casmodels.loaders import StoredModel
from casmodels.quantising.graphs import quantised_graph
from tests.crash import damage
from tests.hub import FakeHub
from tests.models.loaders.test_onnx import linear
from tests.models.signatures.pems import write_pair

ROOT = Path(__file__).resolve().parent.parent.parent
REPO = "org/name"
LISTED = "listed"
SMALL = "small"

WHOLE, DAMAGED = "whole", "damaged"
"""The templates."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, the template that it is run in, and whether nothing is damaged any more when it has ended."""

    arguments: tuple[str, ...]
    template: str = WHOLE
    heals: bool = False


COMMANDS: Mapping[str, Command] = {
    "pull": Command(("pull", REPO, "--all-files", "--workers", "2")),
    "pull-list": Command(("pull", "--list", "list.json", "--workers", "2")),
    "checkpoint": Command(("checkpoint", "kept", "model")),
    "quantize": Command(("quantize", "graph", "--name", SMALL)),
    "gc": Command(("gc",)),
    "compact": Command(("compact",)),
    "verify": Command(("verify", "--data")),
    "repair": Command(("repair",)),
    "checkout": Command(("checkout", "kept@new", "out")),
    "view-categories": Command(("view", "--layout", "categories", "models")),
    "view": Command(("view", "--all", "--path", "view")),
    "remove": Command(("remove", "many")),
    "sign": Command(("sign", "kept@new", "--key", "key/private.pem", "--output", "out/model.sig")),
    "heal": Command(("repair", "--from", "copies"), DAMAGED, heals=True),
    "compact-damaged": Command(("compact",), DAMAGED),
}

Digests = dict[str, str]
"""SHA-256 by path."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many files a model has, how many versions `many` has, and how many packs are garbage."""

    files: int
    versions: int
    garbage: int


@dataclass(frozen=True, slots=True)
class Expected:
    """``versions`` by name@id; what `kept` was and is to be; what is checkpointed, pulled and quantised; and of which
    versions which paths suffer from damage."""

    versions: dict[str, Digests]
    old: Digests
    new: Digests
    model: Digests
    hub: Digests
    small: Digests
    hurt: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, work: Path, template: str) -> Expected:
        """As `prepared` left it."""
        return cls(**json.loads(_expected_path(work, template).read_text()))

    @property
    def healed(self) -> Expected:
        """The same when nothing suffers any more."""
        return replace(self, hurt={})


@contextlib.contextmanager
def prepared(works: Sequence[Path], random: Random, size: Size) -> Iterator[dict[str, str]]:
    """Make the templates in each of some directories; gives the environment for the commands.

    It leads to the root's own packages, and to a Hub that has `REPO` and lives as long as this.
    """
    upstream = {f"{number}.bin": random.randbytes(3_000 + number) for number in range(size.files)}
    for work in works:
        work.mkdir(parents=True, exist_ok=True)
    home = works[0]
    (home / "config.toml").touch()
    with FakeHub() as hub:
        hub.add(REPO, upstream)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'store'}",
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home / "hf"),
            "CASMODELS_CONFIG": str(home / "config.toml"),
        }
        for work in works:
            _build(work, environ, upstream, random, size)
        yield environ


def _build(work: Path, environ: Mapping[str, str], upstream: Mapping[str, bytes], random: Random, size: Size) -> None:
    scene = work / "scene"
    model, one = scene / "model", work / "one"
    for directory in (model / "deep", one):
        directory.mkdir(parents=True)
    versions: dict[str, Digests] = {}
    with Store(config=config.load(store=scene / "store", environ=environ)) as store:

        def keep(name: str, directory: Path, *tags: str) -> Digests:
            digests = digests_in(directory)
            versions[f"{name}@{store.checkpoint(name, directory, tags=tags, rehash=True).version}"] = digests
            return digests

        entry = {"name": LISTED, "type": "audio/stt", "source": "huggingface", "repo": REPO, "files": [*upstream]}
        write_pair(scene / "key")
        (scene / "list.json").write_text(json.dumps({"models": [entry]}))
        _change(model, random, range(size.files))
        old = keep("kept", model, "old")
        store.checkout("kept@old", scene / "out")
        (model / "0.bin").unlink()
        _change(model, random, range(2, size.files + 2))
        new = keep("kept", model, "new")
        _change(model, random, range(3, size.files + 3))
        for number in range(max(size.versions, size.garbage)):
            (one / "0.bin").write_bytes(random.randbytes(1_000))
            if number < size.versions:
                keep("many", one)
            if number < size.garbage:
                (one / "0.bin").write_bytes(random.randbytes(1_000))
                store.checkpoint(f"garbage-{number}", one, rehash=True)
                store.remove(f"garbage-{number}")
        (one / "0.bin").unlink()
        (one / "model.onnx").write_bytes(linear().SerializeToString())
        keep("graph", one)
        small = sha256(quantised_graph(StoredModel(store, "graph"), "model.onnx", "int8")).hexdigest()
        (pulled,) = store.pull([REPO], PullOptions(low_priority=False, include=("0.bin",)))
        hub = {path: sha256(data).hexdigest() for path, data in upstream.items()}
        versions[f"{pulled.name}@{pulled.version}"] = {"0.bin": hub["0.bin"]}
    expected = Expected(versions, old, new, digests_in(model), hub, {"model.onnx": small})
    _put_by(work, WHOLE, expected)
    _build_damaged(work, environ, expected, random, size)


def _build_damaged(work: Path, environ: Mapping[str, str], expected: Expected, random: Random, size: Size) -> None:
    """Make the second template of the first. The places that the store knows lack what is lost."""
    lay_out(work, WHOLE)
    scene = work / "scene"
    family = work / "family"
    damage.write_family(family, scene / "copies", random, size.files)
    with Store(config=config.load(store=scene / "store", environ=environ)) as store:
        saved = {
            f"{name}@{store.checkpoint(name, family / name, rehash=True).version}": digests_in(family / name)
            for name in damage.NAMES
        }
        damage.harm(store, family, random)
        hurt = {target: list(damage.HURT) for target in saved}
        found = {(f"{damaged.model}@{damaged.version}", damaged.path) for damaged in store.verify(data=True).damaged}
        assert found == {(target, path) for target, paths in hurt.items() for path in paths}
    shutil.rmtree(family)
    _put_by(work, DAMAGED, replace(expected, versions=expected.versions | saved, hurt=hurt))


def lay_out(work: Path, template: str) -> None:
    """The scene as it was at first. Files get their times, but not their inodes, so that checkouts are read anew."""
    shutil.rmtree(work / "scene", ignore_errors=True)
    shutil.copytree(work / template, work / "scene", symlinks=True)


def _put_by(work: Path, template: str, expected: Expected) -> None:
    """Let the scene, which is used up, be a template."""
    (work / "scene").rename(work / template)
    _expected_path(work, template).write_text(json.dumps(asdict(expected)))


def _expected_path(work: Path, template: str) -> Path:
    return work / f"{template}.json"


def digests_in(directory: Path) -> Digests:
    """What the files of a directory hold."""
    return {path.relative_to(directory).as_posix(): digest_of(path) for path in files_in(directory)}


def files_in(directory: Path) -> Iterator[Path]:
    """Its files and those of the directories in it; links are none."""
    return (path for path in sorted(directory.rglob("*")) if path.is_file() and not path.is_symlink())


def digest_of(path: Path) -> str:
    """SHA-256 of what a file holds, links followed."""
    return sha256(path.read_bytes()).hexdigest()


def _change(model: Path, random: Random, numbers: range) -> None:
    """Give files of those numbers new bytes, each second one in a directory of its own."""
    for number in numbers:
        (model / ("deep" if number % 2 else "") / f"{number}.bin").write_bytes(random.randbytes(2_000 + number))
