"""A user: what they type next, and what the store has promised them so far."""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from tests.hub import FakeHub

Files = Mapping[str, str]
"""Paths to the SHA-256 of what they hold."""

_NAMES: Final = ("alpha", "beta")
_REPO: Final = "org/model"
_PLACES: Final = ("one", "two")
_MOST_VERSIONS: Final = 5
_TENSOR_WORDS: Final = 12_000
_NOISE_BYTES: Final = 30_000


@dataclass(frozen=True, slots=True)
class State:
    """All that can be asked for: versions (``name@id``), tags (``name@id tag``), pins, and directories checked out."""

    versions: Mapping[str, Files] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    pins: frozenset[str] = frozenset()
    places: Mapping[str, Files] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> State:
        """What a look has found."""
        return cls(
            document["versions"], frozenset(document["tags"]), frozenset(document["pins"]), dict(document["places"])
        )

    @property
    def files(self) -> frozenset[str]:
        """All files of all versions, with what is in them."""
        return _lines(self.versions)

    @property
    def checked_out(self) -> frozenset[str]:
        """All files of all directories, with what is in them."""
        return _lines(self.places)

    def without(self, target: str) -> State:
        """After a version was removed."""
        return replace(
            self,
            versions={name: files for name, files in self.versions.items() if name != target},
            tags=frozenset(tag for tag in self.tags if tag.split(" ")[0] != target),
        )


Effect = Callable[[State, str], State]
"""From the state before to the one after; given the id of the new version, if there is one."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command, and what it promises; ``makes`` is the name that it puts a version under, ``place`` the directory
    that it writes to."""

    arguments: tuple[str, ...]
    effect: Effect
    makes: str | None = None
    place: str | None = None

    @property
    def verb(self) -> str:
        """The command's name."""
        return self.arguments[0]


class User:
    """Draws steps. ``desk`` is a directory with the user's own files, ``checkouts`` the one above what they check out,
    on the disk under test."""

    def __init__(self, chance: random.Random, desk: Path, checkouts: Path, hub: FakeHub) -> None:
        self._chance = chance
        self._desk = desk
        self._checkouts = checkouts
        self._hub = hub
        self._weights = array("f", (chance.gauss(0, 0.05) for _ in range(_TENSOR_WORDS)))
        self._upstream: Files = {}
        self._count = 0

    def step(self, state: State, verb: str | None = None) -> Step:
        """What they type next: that command if it makes sense now, else any that does."""
        verbs = ["checkpoint"] * 5 + ["pull"] * 2 + ["gc"] * 2 + ["compact"] * 2 + ["cleanup"]
        if state.versions:
            verbs += ["repair", "tag", "pin", "redownload", *["checkout"] * 3, "view"]
        if state.pins:
            verbs += ["unpin"]
        if _removable(state):
            verbs += ["remove"] * (2 if len(state.versions) < _MOST_VERSIONS else 10)
        if not any(target.startswith(f"{_REPO}@") for target in state.versions):
            verbs = [each for each in verbs if each != "redownload"]
        chosen = verb if verb in verbs else self._chance.choice(verbs)
        making: dict[str, Callable[[State], Step]] = {
            "checkpoint": self._checkpoint,
            "pull": self._pull,
            "redownload": lambda _: self._fetch("redownload"),
            "checkout": self._checkout,
            "view": self._view,
            "tag": self._tag,
            "pin": self._pin,
            "unpin": self._unpin,
            "remove": self._remove,
        }
        return making[chosen](state) if chosen in making else Step((chosen,), _nothing)

    def _checkpoint(self, _: State) -> Step:
        name, source = self._chance.choice(_NAMES), self._desk / "model"
        files = self._draw_files()
        for path, data in files.items():
            file = source / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists() or file.read_bytes() != data:
                file.write_bytes(data)
        options, tag, pins = ["-m", "a step"], None, self._chance.random() < 0.2
        if self._chance.random() < 0.3:
            tag = self._label()
            options += ["--tag", tag]
        if pins:
            options.append("--pin")

        def effect(state: State, version: str) -> State:
            target = f"{name}@{version}"
            return replace(
                state,
                versions={**state.versions, target: _digests(files)},
                tags=state.tags | ({f"{target} {tag}"} if tag else set()),
                pins=state.pins | ({target} if pins else set()),
            )

        return Step(("checkpoint", name, str(source), *options), effect, makes=name)

    def _pull(self, _: State) -> Step:
        drawn = self._draw_files()
        files = {"config.json": b'{"step": %d}' % self._number(), "model.safetensors": _safetensors(drawn["w.bin"])}
        files["tokenizer.json"] = drawn["vocabulary.txt"]
        self._hub.add(_REPO, files)
        self._upstream = _digests(files)
        return self._fetch("pull")

    def _fetch(self, verb: str) -> Step:
        """What is upstream now; a `redownload` brings it back where it was removed."""
        upstream = self._upstream

        def effect(state: State, version: str) -> State:
            return replace(state, versions={**state.versions, f"{_REPO}@{version}": upstream})

        return Step((verb, _REPO, "--workers", "2"), effect, makes=_REPO)

    def _checkout(self, state: State) -> Step:
        target, place = self._one_of(state.versions), self._chance.choice(_PLACES)

        def effect(state: State, _: str) -> State:
            return replace(state, places={**state.places, place: state.versions[target]})

        return Step(("checkout", target, str(self._checkouts / place)), effect, place=place)

    def _view(self, state: State) -> Step:
        """A Hub cache of one version; what is promised is its snapshot."""
        target, place = self._one_of(state.versions), f"view-{self._number()}"

        def effect(state: State, _: str) -> State:
            return replace(state, places={**state.places, place: state.versions[target]})

        return Step(("view", target, "--path", str(self._checkouts / place)), effect, place=place)

    def _tag(self, state: State) -> Step:
        target, tag = self._one_of(state.versions), self._label()
        return Step(("tag", target, tag), lambda state, _: replace(state, tags=state.tags | {f"{target} {tag}"}))

    def _pin(self, state: State) -> Step:
        target = self._one_of(state.versions)
        return Step(("pin", target), lambda state, _: replace(state, pins=state.pins | {target}))

    def _unpin(self, state: State) -> Step:
        target = self._one_of(state.pins)
        return Step(("unpin", target), lambda state, _: replace(state, pins=state.pins - {target}))

    def _remove(self, state: State) -> Step:
        target = self._one_of(_removable(state))
        return Step(("remove", target), lambda state, _: state.without(target))

    def _draw_files(self) -> dict[str, bytes]:
        """The next state of what the user works on: weights a bit further on, noise anew or not, text."""
        step = self._number()
        self._weights = array("f", (word * (1 + self._chance.uniform(-1e-4, 1e-4)) for word in self._weights))
        noise = random.Random(step // 3).randbytes(_NOISE_BYTES)
        text = b"".join(b"%d of step %d\n" % (line, step) for line in range(500))
        return {"w.bin": self._weights.tobytes(), "sub/noise.bin": noise, "vocabulary.txt": text}

    def _one_of(self, targets: Collection[str]) -> str:
        return self._chance.choice(sorted(targets))

    def _label(self) -> str:
        return f"t{self._number()}"

    def _number(self) -> int:
        self._count += 1
        return self._count


def _removable(state: State) -> set[str]:
    """Versions that are not pinned, and not checked out: what the store has no more, no checkout writes over."""
    lying = list(state.places.values())
    return {target for target, files in state.versions.items() if target not in state.pins and files not in lying}


def _lines(places: Mapping[str, Files]) -> frozenset[str]:
    return frozenset(
        f"{place} {path} {sha256[:12]}" for place, files in places.items() for path, sha256 in files.items()
    )


def _nothing(state: State, _: str) -> State:
    return state


def _digests(files: Mapping[str, bytes]) -> Files:
    return {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}


def _safetensors(data: bytes) -> bytes:
    header = b'{"w":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (len(data) // 4, len(data))
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data
