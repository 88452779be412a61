"""The size of the index beside a large model: 10 GiB of bf16 in shards, the type whose chunks are smallest."""

from __future__ import annotations

import json
from collections.abc import Sequence

from benchmarks.floats import write_tensor
from benchmarks.results import Figure, Results
from benchmarks.workplace import from_arguments, scratch

SHARDS = 5
LIMIT_PERCENT = 0.02


def main(arguments: Sequence[str] | None = None) -> int:
    workplace = from_arguments(__doc__, arguments)
    shard_bytes = 16 << 20 if workplace.quick else 2 << 30
    results = Results("index", {**workplace.parameters(), "runs": 1, "raw_bytes": SHARDS * shard_bytes})
    with scratch(workplace.work / "index") as work:
        (work / "model").mkdir()
        for shard in range(SHARDS):
            write_tensor(work / "model" / f"model-{shard + 1:05}.safetensors", shard_bytes, "BF16", seed=shard)
        casmodels = workplace.casmodels(work / "store")
        used = workplace.run(casmodels.put(work / "model", "large"))
        stats = json.loads(workplace.run(casmodels.command("--json stats")).output)
        raw_bytes = sum(path.stat().st_size for path in (work / "model").iterdir())
        percent = 100 * stats["index_bytes"] / raw_bytes
        results.figures.append(Figure("index / raw", percent, LIMIT_PERCENT, " %"))
        results.measurements.append(
            {
                "raw_bytes": raw_bytes,
                "index_bytes": stats["index_bytes"],
                "stored_bytes": stats["stored_bytes"],
                "chunks": stats["chunks"],
                "wall_seconds": round(used.wall_seconds, 2),
                "peak_rss_bytes": used.peak_rss_bytes,
            }
        )
    workplace.save(results)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
