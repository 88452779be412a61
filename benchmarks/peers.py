"""What users would pick instead, each behind the same four words.

A peer says which commands put a directory in and take it out; the benchmarks run them as they stand, in bash, each as a
process of its own. All settings are the tool's defaults unless the peer's name says otherwise.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import ClassVar

from benchmarks.measure import measure


class Peer(ABC):
    """A way to keep directories. `place` is an empty directory of its own."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()  # commands that must be on the PATH

    def __init__(self, place: Path, environment: Mapping[str, str]) -> None:
        self.place = place
        self.environment = environment

    def prepare(self) -> None:
        """Make the empty store; not timed. Whatever lay at the place is removed first."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)

    @abstractmethod
    def put(self, directory: Path, name: str) -> str:
        """The command that saves `directory` under `name`."""

    @abstractmethod
    def get(self, name: str, target: Path) -> str:
        """The command that writes what was saved as `name` into `target`, which does not exist yet."""

    def stored_bytes(self) -> int:
        """The sizes of all files at the place, in bytes."""
        return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(self.place) for name in names)


class Casmodels(Peer):
    name = "casmodels"

    def __init__(self, place: Path, environment: Mapping[str, str], program: Path) -> None:
        super().__init__(place, environment)
        self.program = program

    def prepare(self) -> None:
        """There is no `init`: the first version makes the store, so a tiny one does."""
        super().prepare()
        (self.place.parent / "tiny").write_text("tiny")
        measure(self.put(self.place.parent / "tiny", "tiny"), self.environment)

    def command(self, arguments: str) -> str:
        return f"{quote(str(self.program))} --store {quote(str(self.place))} -q {arguments}"

    def put(self, directory: Path, name: str) -> str:
        return self.command(f"checkpoint {quote(name)} {quote(str(directory))}")

    def get(self, name: str, target: Path) -> str:
        return self.command(f"checkout {quote(name)} {quote(str(target))}")


class CasmodelsWhole(Casmodels):
    """Every chunk stored whole: byte planes and deduplication alone."""

    name = "casmodels (no deltas)"

    def command(self, arguments: str) -> str:
        return f"CASMODELS_CONFIG={quote(str(self._config))} {super().command(arguments)}"

    def prepare(self) -> None:
        """As for everyone; the configuration lies beside the store."""
        self.place.parent.mkdir(parents=True, exist_ok=True)
        self._config.write_text("deltas = false\n")
        super().prepare()

    @property
    def _config(self) -> Path:
        return self.place.parent / "no-deltas.toml"


class PlainCopy(Peer):
    name = "copy"

    def put(self, directory: Path, name: str) -> str:
        return f"cp -a {quote(str(directory))} {quote(str(self.place / name))}"

    def get(self, name: str, target: Path) -> str:
        return f"cp -a {quote(str(self.place / name))} {quote(str(target))}"


class TarZstd(Peer):
    name = "tar+zstd-3"
    needs = ("tar", "zstd")

    def put(self, directory: Path, name: str) -> str:
        archive = quote(str(self.place / f"{name}.tar.zst"))
        return f"tar -C {quote(str(directory))} -cf - . | zstd -q -3 -T2 -o {archive}"

    def get(self, name: str, target: Path) -> str:
        there = quote(str(target))
        archive = quote(str(self.place / f"{name}.tar.zst"))
        return f"mkdir {there} && zstd -q -d -c {archive} | tar -C {there} -xf -"


class Borg(Peer):
    name = "borg"
    needs = ("borg",)
    compression: ClassVar[str] = ""

    def prepare(self) -> None:
        super().prepare()
        measure(f"borg init --encryption none {self._repository}", self.environment)

    @property
    def _repository(self) -> str:
        return quote(str(self.place / "repository"))

    def put(self, directory: Path, name: str) -> str:
        return f"cd {quote(str(directory))} && borg create {self.compression} {self._repository}::{quote(name)} ."

    def get(self, name: str, target: Path) -> str:
        there = quote(str(target))
        return f"mkdir {there} && cd {there} && borg extract {self._repository}::{quote(name)}"


class BorgZstd(Borg):
    name = "borg zstd,3"
    compression = "--compression zstd,3"


class Restic(Peer):
    name = "restic"
    needs = ("restic",)

    def prepare(self) -> None:
        super().prepare()
        measure(f"restic -q init --repo {self._repository}", self.environment)

    @property
    def _repository(self) -> str:
        return quote(str(self.place / "repository"))

    def put(self, directory: Path, name: str) -> str:
        return f"cd {quote(str(directory))} && restic -q --repo {self._repository} backup --tag {quote(name)} ."

    def get(self, name: str, target: Path) -> str:
        return f"restic -q --repo {self._repository} restore latest --tag {quote(name)} --target {quote(str(target))}"


class ZipNN(Peer):
    name = "ZipNN"

    def __init__(self, place: Path, environment: Mapping[str, str], python: Path) -> None:
        super().__init__(place, environment)
        self.tool = f"{quote(str(python))} {quote(str(Path(__file__).with_name('zipnn_tool.py')))}"

    def put(self, directory: Path, name: str) -> str:
        return f"{self.tool} put {quote(str(directory))} {quote(str(self.place / name))}"

    def get(self, name: str, target: Path) -> str:
        return f"{self.tool} get {quote(str(self.place / name))} {quote(str(target))}"


PACKAGED: Sequence[type[Peer]] = (PlainCopy, TarZstd, Borg, BorgZstd, Restic)


def missing_commands() -> list[str]:
    """The commands that peers need and this machine lacks."""
    return sorted({command for peer in PACKAGED for command in peer.needs if shutil.which(command) is None})
