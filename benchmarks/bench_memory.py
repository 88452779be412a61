"""The memory at its peak, over the whole process tree, while a model much larger than it goes in and out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.corpus import digests_of
from benchmarks.floats import write_opaque, write_tensor, write_tuned
from benchmarks.results import Figure, Results
from benchmarks.workplace import Workplace, from_arguments, scratch

LIMIT_MIB = 512
MIB = 1 << 20
FILES: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "one fp32 tensor": ("model.safetensors", partial(write_tensor, dtype="F32", seed=1)),
    "one bf16 tensor": ("model.safetensors", partial(write_tensor, dtype="BF16", seed=2)),
    "one opaque file": ("model.dat", partial(write_opaque, seed=3)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    workplace = from_arguments(__doc__, arguments)
    size_bytes = 64 * MIB if workplace.quick else 4096 * MIB
    results = Results("memory", {**workplace.parameters(), "runs": 1, "raw_bytes": size_bytes})
    for what, (name, write) in FILES.items():
        with scratch(workplace.work / "memory") as work:
            (work / "model").mkdir()
            write(work / "model" / name, size_bytes)
            in_and_out(workplace, what, work, results)
    with scratch(workplace.work / "memory") as work:
        near_copy(workplace, size_bytes // 2, work, results)
    workplace.save(results)
    return 0


def near_copy(workplace: Workplace, size_bytes: int, work: Path, results: Results) -> None:
    """A model, and another that is stored against it."""
    before, after = work / "before" / "model.safetensors", work / "model" / "model.safetensors"
    for file in (before, after):
        file.parent.mkdir()
    write_tensor(before, size_bytes, dtype="F32", seed=1)
    write_tuned(before, after, seed=5)
    workplace.run(workplace.casmodels(work / "store").put(before.parent, "before"))
    in_and_out(workplace, "one fp32 tensor as deltas", work, results)


def in_and_out(workplace: Workplace, what: str, work: Path, results: Results) -> None:
    casmodels = workplace.casmodels(work / "store")
    for action, script in (
        ("in", casmodels.put(work / "model", "large")),
        ("out", casmodels.get("large", work / "out")),
        ("verify --data", casmodels.command("verify --data")),
    ):
        used = workplace.run(script)
        results.figures.append(Figure(f"peak memory, {what}, {action}", used.peak_rss_bytes / MIB, LIMIT_MIB, " MiB"))
        results.measurements.append(
            {
                "what": what,
                "action": action,
                "wall_seconds": round(used.wall_seconds, 2),
                "cpu_seconds": round(used.cpu_seconds, 2),
                "stored_bytes": casmodels.stored_bytes(),
            }
        )
    if digests_of(work / "model") != digests_of(work / "out"):
        raise RuntimeError(f"{what}: what came out is not what went in")
    shutil.rmtree(work / "out")


if __name__ == "__main__":
    raise SystemExit(main())
