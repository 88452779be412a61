"""The family in and out, whole commands against everyone else's: as one directory, and version by version; on disk with
a sync inside everyone's time, and on tmpfs. Everyone takes turns, run after run."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import facts
from benchmarks.corpus import Corpus
from benchmarks.measure import Usage
from benchmarks.peers import Casmodels, CasmodelsWhole, Peer
from benchmarks.results import Figure, Results
from benchmarks.workplace import TMPFS, Workplace, from_arguments, scratch

WHOLE, VERSIONS = "one directory", "version by version"


@dataclass(frozen=True)
class Measurement:
    """One command, or one row of commands, of one peer."""

    place: str
    shape: str  # WHOLE or VERSIONS
    action: str  # "in" or "out"
    peer: str
    usage: Usage


def main(arguments: Sequence[str] | None = None) -> int:
    workplace = from_arguments(__doc__, arguments)
    corpus = workplace.corpus()
    results = Results("speed", {**workplace.parameters(), "raw_bytes": corpus.size_bytes})
    found: list[Measurement] = []
    with scratch(workplace.work / "speed") as disk:
        results.parameters["disk"] = facts.file_system(disk)
        found += measure_place(workplace, "disk", corpus.root, disk)
    with scratch(TMPFS / "casmodels-bench") as memory:
        shutil.copytree(corpus.root, memory / "family")
        found += measure_place(workplace, "tmpfs", memory / "family", memory)
    results.measurements = list(summaries(found, corpus))
    results.figures = figures(found, corpus)
    workplace.save(results)
    return 0


def measure_place(workplace: Workplace, place: str, family: Path, work: Path) -> Iterator[Measurement]:
    """Warm up once (compiled kernels, program files), then every run in another order."""
    peers = workplace.peers(work / "stores")
    names = sorted(path.name for path in family.iterdir() if path.is_dir())
    for peer in peers:
        list(one_turn(workplace, peer, {"small": family / names[-1]}, work))
    for run in range(workplace.runs):
        for peer in peers[run % len(peers) :] + peers[: run % len(peers)]:
            for shape, sources in ((WHOLE, {"family": family}), (VERSIONS, {name: family / name for name in names})):
                for action, usage in one_turn(workplace, peer, sources, work):
                    print(f"{place}, run {run + 1}, {peer.name}, {shape}, {action}: {usage.wall_seconds:.2f} s")
                    yield Measurement(place, shape, action, peer.name, usage)


def one_turn(workplace: Workplace, peer: Peer, sources: dict[str, Path], work: Path) -> Iterator[tuple[str, Usage]]:
    """Into an empty store and out into an empty directory."""
    peer.prepare()
    puts = "\n".join(f"({peer.put(source, name)})" for name, source in sources.items())
    yield "in", workplace.run_synced(puts, work)
    with scratch(work / "out") as out:
        gets = "\n".join(f"({peer.get(name, out / name)})" for name in sources)
        yield "out", workplace.run_synced(gets, work)
    shutil.rmtree(peer.place)


def summaries(found: Sequence[Measurement], corpus: Corpus) -> Iterator[dict[str, object]]:
    """Medians per place, shape, action and peer, with all the runs' wall times beside them."""
    groups: dict[tuple[str, str, str, str], list[Usage]] = defaultdict(list)
    for one in found:
        groups[one.place, one.shape, one.action, one.peer].append(one.usage)
    for (place, shape, action, peer), usages in groups.items():
        yield {
            "place": place,
            "shape": shape,
            "action": action,
            "peer": peer,
            "wall_seconds": round(median(usage.wall_seconds for usage in usages), 3),
            "cpu_seconds": round(median(usage.cpu_seconds for usage in usages), 3),
            "peak_rss_bytes": max(usage.peak_rss_bytes for usage in usages),
            "raw_bytes": corpus.size_bytes,
            "all_wall_seconds": [round(usage.wall_seconds, 3) for usage in usages],
        }


def figures(found: Sequence[Measurement], corpus: Corpus) -> list[Figure]:
    """The ratios that the project promises, for each place and shape."""
    rows = {(row["place"], row["shape"], row["action"], row["peer"]): row for row in summaries(found, corpus)}

    def ratio(place: str, shape: str, action: str, ours: str, peer: str, what: str) -> float:
        mine, theirs = (rows[place, shape, action, name][what] for name in (ours, peer))
        return float(str(mine)) / float(str(theirs))

    wanted = (
        ("in", "wall_seconds", "tar+zstd-3", 1.0, "ingest, wall time"),
        ("in", "cpu_seconds", "restic", 1 / 3, "ingest, CPU time"),
        ("out", "cpu_seconds", "borg zstd,3", 1.0, "checkout, CPU time"),
        ("out", "cpu_seconds", "borg", 1.0, "checkout, CPU time"),
    )
    # What is promised is promised of whole chunks; deltas have promises of their own (bench_deltas).
    return [
        Figure(
            f"{title}, {ours} / {peer}, {shape}, {place}",
            ratio(place, shape, action, ours, peer, what),
            reach if ours == CasmodelsWhole.name else None,
        )
        for ours in (CasmodelsWhole.name, Casmodels.name)
        for action, what, peer, reach, title in wanted
        for place in ("disk", "tmpfs")
        for shape in (WHOLE, VERSIONS)
    ]


if __name__ == "__main__":
    raise SystemExit(main())
