"""Loading a bf16 model's tensors, cold, from a disk held at 0.5 GB/s: from the store, and by safetensors from the raw
file on the same disk, by turns in one run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from shlex import quote
from statistics import median
from typing import Any

from benchmarks.floats import write_layers
from benchmarks.results import Figure, Results
from benchmarks.slow_disk import CannotHoldError, held
from benchmarks.workplace import ROOT, Workplace, from_arguments, scratch

RATE_BYTES = 500_000_000  # per second
LIMIT_MIB = 512
MIB = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    workplace = from_arguments(__doc__, arguments)
    size_bytes = 64 * MIB if workplace.quick else 2048 * MIB
    results = Results("load", {**workplace.parameters(), "raw_bytes": size_bytes, "bytes_per_second": RATE_BYTES})
    with scratch(workplace.work / "load") as work, ExitStack() as stack:
        weights = work / "model" / "model.safetensors"
        weights.parent.mkdir()
        write_layers(weights, size_bytes, seed=4)
        casmodels = workplace.casmodels(work / "store")
        workplace.run(casmodels.put(weights.parent, "large"))
        try:
            procs = stack.enter_context(held(work, RATE_BYTES))
        except CannotHoldError as error:
            procs = None
            results.parameters["not_held"] = str(error)
        loads = {
            "casmodels": f"casmodels {quote(str(casmodels.place))} large",
            "safetensors": f"safetensors {quote(str(weights))}",
        }
        rows: dict[str, list[dict[str, Any]]] = {who: [] for who in loads}
        for _ in range(workplace.runs):
            for who, load in loads.items():
                rows[who].append(measured(workplace, load, procs))
        report(rows, results, is_held=procs is not None)
    workplace.save(results)
    return 0


def measured(workplace: Workplace, load: str, procs: Path | None) -> dict[str, Any]:
    """One load in a process of its own, with cold caches."""
    join = f"echo $$ > {quote(str(procs))}; " if procs is not None else ""
    command = f"cd {quote(str(ROOT))}; {join}exec {quote(str(workplace.torch_python))} -m benchmarks.load_tool {load}"
    found: dict[str, Any] = json.loads(workplace.run_cold(command).output)
    return found


def report(rows: dict[str, list[dict[str, Any]]], results: Results, *, is_held: bool) -> None:
    for who, found in rows.items():
        results.measurements += [{"who": who, **row} for row in found]
    if len({row["touched"] for found in rows.values() for row in found}) != 1:
        raise RuntimeError("the tensors from the store are not those of the file")
    seconds = {who: median(row["seconds"] for row in found) for who, found in rows.items()}
    how = "disk held at 0.5 GB/s" if is_held else "disk not held"
    beyond = max(row["peak_bytes"] - row["before_bytes"] - row["tensor_bytes"] for row in rows["casmodels"])
    results.figures += [
        Figure(
            f"load, bf16, cold, {how}, casmodels / safetensors",
            seconds["casmodels"] / seconds["safetensors"],
            1.0 if is_held else None,
        ),
        Figure("load, peak memory beyond the tensors", beyond / MIB, LIMIT_MIB, " MiB"),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
