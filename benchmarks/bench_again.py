"""What is done a second time must cost next to nothing: a second pull, a second checkpoint of an unchanged directory,
and a checkout over a directory in which one file in a hundred differs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from subprocess import DEVNULL, PIPE, Popen

from benchmarks.corpus import WEIGHTS, Corpus
from benchmarks.counting_proxy import counting
from benchmarks.quick import YEARS_AGO
from benchmarks.results import Figure, Results
from benchmarks.tracing import trace
from benchmarks.workplace import Workplace, from_arguments, scratch

REPO = "sentence-transformers/all-MiniLM-L6-v2"
SHARDS = 100


def main(arguments: Sequence[str] | None = None) -> int:
    workplace = from_arguments(__doc__, arguments)
    corpus = workplace.corpus()
    results = Results("again", workplace.parameters())
    with scratch(workplace.work / "again") as work:
        pull(workplace, corpus.directory("01-base"), work, results)
        checkpoint(workplace, corpus, work, results)
        checkout(workplace, corpus.directory("01-base") / WEIGHTS, work, results)
    workplace.save(results)
    return 0


def pull(workplace: Workplace, source: Path, work: Path, results: Results) -> None:
    """Pull from a local hub through a proxy that counts; then again."""
    hub, client = workplace.casmodels(work / "hub"), workplace.casmodels(work / "client")
    workplace.run(hub.command(f"pull {quote(str(source))} --name {REPO}"))
    with serving(workplace, hub.place) as upstream, counting(upstream) as (address, traffic):
        command = f"HF_ENDPOINT={address} {client.command(f'pull {REPO}')}"
        first = workplace.run(command)
        results.measurements.append(
            {
                "what": "first pull",
                "requests": len(traffic.requests),
                "file_bytes": traffic.file_bytes,
                "wall_seconds": round(first.wall_seconds, 3),
                "cpu_seconds": round(first.cpu_seconds, 3),
            }
        )
        traffic.clear()
        again = workplace.run(command)
        results.figures += [
            Figure("second pull, requests to the hub", len(traffic.requests), 1),
            Figure("second pull, bytes of files", traffic.file_bytes, 0),
            Figure("second pull, CPU time", again.cpu_seconds, 1.0, " s"),
        ]


@contextmanager
def serving(workplace: Workplace, store: Path) -> Iterator[str]:
    """The address of a `casmodels serve` that runs for the duration of the block."""
    command = [str(workplace.program), "--store", str(store), "--json", "serve", "--port", "0"]
    with Popen(command, env=workplace.environment(), stdin=DEVNULL, stdout=PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            announced = ""
            while not announced.rstrip().endswith("}"):
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError("the server ended before it said where it listens")
                announced += line
            yield str(json.loads(announced)["url"]).rstrip("/")
        finally:
            process.terminate()


def checkpoint(workplace: Workplace, corpus: Corpus, work: Path, results: Results) -> None:
    """Save a directory, then save it again: once for its cost, once under strace for what it reads.

    The first time is traced too: a proof that nothing is read is worth something only if reading would show.
    """
    directory = work / "unchanged"
    shutil.copytree(corpus.directory("01-base"), directory)
    casmodels = workplace.casmodels(work / "again")
    command = casmodels.put(directory, "again")
    first_bytes = trace(workplace, command).read_below(directory)
    if first_bytes < corpus.members[0].size_bytes:
        raise RuntimeError(f"strace saw only {first_bytes} bytes read while the whole directory was saved")
    used = workplace.run(command)
    read_bytes = trace(workplace, command).read_below(directory)
    results.figures += [
        Figure("second checkpoint, bytes of files read", read_bytes, 0),
        Figure("second checkpoint, wall time", used.wall_seconds, 1.0, " s"),
    ]
    results.measurements.append({"what": "second checkpoint", "cpu_seconds": round(used.cpu_seconds, 3)})


def checkout(workplace: Workplace, weights: Path, work: Path, results: Results) -> None:
    """A directory of a hundred equal files; one is changed; the earlier version is checked out over it."""
    directory, out = work / "shards", work / "out"
    raw_bytes, changed = write_shards(weights, directory)
    casmodels = workplace.casmodels(work / "store")
    workplace.run(casmodels.put(directory, "shards"))
    changed.write_bytes(changed.read_bytes()[::-1])
    os.utime(changed, (YEARS_AGO + 1, YEARS_AGO + 1))
    workplace.run(casmodels.put(directory, "shards"))
    workplace.run(casmodels.get("shards", out))
    touched = trace(workplace, casmodels.get("shards@~1", out))
    written = touched.written_below(out) / changed.stat().st_size
    read_back, decoded = touched.read_below(out) / raw_bytes, touched.read_below(casmodels.place) / raw_bytes
    results.figures += [
        Figure("checkout after 1 % changed, written / changed", written, 1),
        Figure("checkout after 1 % changed, read of the old files / raw", read_back, 0.01),
        Figure("checkout after 1 % changed, read of the store / raw", decoded, 0.02),
    ]


def write_shards(weights: Path, directory: Path) -> tuple[int, Path]:
    """Cut a weights file into equal parts: the bytes in all, and the part to be changed."""
    directory.mkdir()
    content = weights.read_bytes()
    length = len(content) // SHARDS
    for number in range(SHARDS):
        part = directory / f"model-{number:05}.bin"
        part.write_bytes(content[number * length : (number + 1) * length])
        os.utime(part, (YEARS_AGO, YEARS_AGO))
    return length * SHARDS, directory / f"model-{SHARDS // 2:05}.bin"


if __name__ == "__main__":
    raise SystemExit(main())
