"""Where a benchmark runs: its directories, the environment of the measured commands, and the caches before each."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from benchmarks import corpus, quick
from benchmarks.measure import Usage, measure
from benchmarks.peers import PACKAGED, Casmodels, CasmodelsWhole, Peer, ZipNN, missing_commands
from benchmarks.results import Results

ROOT = Path(__file__).resolve().parent.parent
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
TMPFS = Path("/dev/shm")


@dataclass(frozen=True)
class Workplace:
    """The directories and programs of one run of a benchmark."""

    work: Path
    results: Path
    corpus_root: Path
    program: Path  # casmodels
    torch_python: Path  # for ZipNN
    runs: int
    quick: bool
    drop_caches: bool

    def environment(self) -> dict[str, str]:
        """What measured commands see: a home of their own, so that nobody's settings or caches take part."""
        home = self.work / "home"
        home.mkdir(parents=True, exist_ok=True)
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "RESTIC_PASSWORD": "benchmark",
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }

    def corpus(self) -> corpus.Corpus:
        """The family of nine versions; in quick mode a small synthetic one, made on the spot."""
        return quick.build(self.work / "quick-corpus") if self.quick else corpus.load(self.corpus_root)

    def casmodels(self, place: Path) -> Casmodels:
        return Casmodels(place, self.environment(), self.program)

    def peers(self, place: Path) -> list[Peer]:
        """Everyone, casmodels first, each with a store of its own under `place`."""
        environment = self.environment()
        others = [peer(place / peer.name.replace(" ", "_"), environment) for peer in PACKAGED]
        ours = [self.casmodels(place / "casmodels"), CasmodelsWhole(place / "whole", environment, self.program)]
        return [*ours, *others, ZipNN(place / "zipnn", environment, self.torch_python)]

    def run(self, script: str, directory: Path | None = None) -> Usage:
        return measure(script, self.environment(), directory)

    def run_synced(self, script: str, place: Path) -> Usage:
        """As `run`, with cold caches before it and the file system of `place` synced inside the time."""
        return self.run_cold(f"{script}\nsync -f {quote(str(place))}")

    def run_cold(self, script: str) -> Usage:
        """As `run`, with cold caches before it."""
        if self.drop_caches:
            os.sync()
            DROP_CACHES.write_text("3")
        return self.run(script)

    def parameters(self) -> dict[str, object]:
        return {"runs": self.runs, "quick": self.quick, "cold_caches": self.drop_caches}

    def save(self, results: Results) -> None:
        print(f"{results.bench}: {results.write(self.results).relative_to(ROOT)}")
        for figure in results.figures:
            verdict = {None: "", True: "reached", False: "MISSED"}[figure.met]
            reach = "" if figure.reach is None else f" (at most {figure.reach:g})"
            print(f"  {figure.name}: {figure.value:.4g}{figure.unit}{reach} {verdict}")


@contextmanager
def scratch(directory: Path) -> Iterator[Path]:
    """An empty directory for the duration of the block."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def from_arguments(description: str | None, arguments: Sequence[str] | None = None) -> Workplace:
    """The workplace that the command line asks for; ends the program where a peer's command is missing."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=5, help="repetitions; medians are reported (default 5)")
    parser.add_argument("--quick", action="store_true", help="a small corpus and one run: checks the bench itself")
    parser.add_argument("--program", type=Path, default=ROOT / ".venv/bin/casmodels", help="casmodels to measure")
    parser.add_argument("--torch-python", type=Path, default=ROOT / ".venv-torch/bin/python")
    parser.add_argument("--keep-caches", action="store_true", help="leave the page cache warm")
    options = parser.parse_args(arguments)
    if missing := missing_commands():
        packages = " ".join("borgbackup" if command == "borg" else command for command in missing)
        sys.exit(f"missing: {', '.join(missing)}. On Debian: apt-get install {packages}")
    bench = ROOT / ".bench"
    return Workplace(
        work=bench / "work",
        results=bench / "quick-results" if options.quick else ROOT / "benchmarks" / "results",
        corpus_root=bench / "corpus",
        program=options.program,
        torch_python=options.torch_python,
        runs=1 if options.quick else options.runs,
        quick=options.quick,
        drop_caches=not options.keep_caches and not options.quick and os.access(DROP_CACHES, os.W_OK),
    )
