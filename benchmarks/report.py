"""Turns the results into the tables of README.md and docs/performance.md, and the plot beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import plot, results
from benchmarks.workplace import ROOT

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
MARKED = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.DOTALL)
ORDER = ("size", "deltas", "speed", "again", "startup", "memory", "load", "index", "priority")
IMAGE = "![stored size and times of everyone](docs/images/bench.svg)"
# Some promises are measured on several things or in several places; the short table shows the worst of them.
VARIANT = re.compile(
    r", (one directory|version by version), (disk|tmpfs)$|(?<=peak memory), .*$|(?<=second copy / raw), .*$"
)
Documents = dict[str, dict[str, Any]]


def main() -> int:
    documents = results.read(ROOT / "benchmarks" / "results")
    plot.draw(documents, ROOT / "docs" / "images" / "bench.svg")
    plain = [machine_line(documents), peers(documents), IMAGE, promises(worst(documents))]
    replace(ROOT / "README.md", plain)
    full = [machine_line(documents), promises(all_figures(documents)), *speed_tables(documents)]
    replace(ROOT / "docs" / "performance.md", full)
    return 0


def replace(file: Path, parts: list[str]) -> None:
    """Put the parts between the markers in `file`, where it has them."""
    if file.exists():
        block = f"{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}"
        file.write_text(MARKED.sub(lambda _: block, file.read_text()))


def machine_line(documents: Documents) -> str:
    machine = next(iter(documents.values()))["machine"]
    runs = documents["speed"]["parameters"]["runs"]
    return (
        f"Measured by `make bench` on {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, Python {machine['python']}; medians of {runs} runs, everyone in turn."
    )


def all_figures(documents: Documents) -> list[dict[str, Any]]:
    return [
        figure
        for bench in ORDER
        for figure in documents.get(bench, {"figures": []})["figures"]
        if figure["reach"] is not None
    ]


def worst(documents: Documents) -> list[dict[str, Any]]:
    """Every promise once: of its variants, the one that is furthest from being kept."""
    found: dict[str, dict[str, Any]] = {}
    for figure in all_figures(documents):
        name = VARIANT.sub("", figure["name"])
        if name not in found or figure["value"] > found[name]["value"]:
            found[name] = {**figure, "name": name}
    return list(found.values())


def promises(figures: list[dict[str, Any]]) -> str:
    rows = (
        (figure["name"], number(figure["reach"], figure["unit"]), number(figure["value"], figure["unit"]),
         "yes" if figure["met"] else "**no**")
        for figure in figures
    )  # fmt: skip
    return markdown(("figure", "at most", "measured", "reached"), rows)


def peers(documents: Documents) -> str:
    """Everyone on the family as one directory, on disk."""
    stored = family_ratios(documents)
    timed = {(row["peer"], row["action"]): row for row in timings(documents, "disk", "one directory")}
    rows = (
        (
            name,
            f"{ratio:.1%}",
            *(f"{timed[name, action]['wall_seconds']:.1f} s" for action in ("in", "out")),
            *(f"{timed[name, action]['cpu_seconds']:.1f} s" for action in ("in", "out")),
        )
        for name, ratio in sorted(stored.items(), key=lambda item: item[1])
    )
    return markdown(("family of nine versions", "stored / raw", "in", "out", "CPU in", "CPU out"), rows)


def speed_tables(documents: Documents) -> Iterator[str]:
    for place in ("disk", "tmpfs"):
        for shape in ("one directory", "version by version"):
            rows = [
                (row["peer"], row["action"], f"{row['wall_seconds']:.2f} s", f"{row['cpu_seconds']:.2f} s",
                 f"{row['peak_rss_bytes'] >> 20} MiB")
                for row in timings(documents, place, shape)
            ]  # fmt: skip
            head = (f"{shape}, {place}", "", "wall", "CPU", "peak memory")
            yield markdown(head, sorted(rows, key=lambda row: row[1]))


def family_ratios(documents: Documents) -> dict[str, float]:
    rows = [row for row in documents["size"]["measurements"] if row["what"] == "family"]
    return {row["peer"]: row["stored_bytes"] / row["raw_bytes"] for row in rows}


def timings(documents: Documents, place: str, shape: str) -> list[dict[str, Any]]:
    rows = documents["speed"]["measurements"]
    return [row for row in rows if (row["place"], row["shape"]) == (place, shape)]


def number(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text}{unit}"


def markdown(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, ("---", *("--:" for _ in head[1:])), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
