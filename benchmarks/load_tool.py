"""Loads a model's tensors in a process of its own and says, as JSON, how long that took and what memory it needed.

`python -m benchmarks.load_tool casmodels STORE NAME` or `… safetensors FILE`. Both load into torch; every
page of every tensor is touched before the clock stops, since safetensors maps the file and reads it when it is used.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE_BYTES = 4096


def main() -> int:
    kind, *arguments = sys.argv[1:]
    prepare: dict[str, Callable[..., Callable[[], dict[str, Any]]]] = {
        "casmodels": of_store,
        "safetensors": of_file,
    }
    load = prepare[kind](*arguments)
    before, read_before = peak_bytes(), read_bytes()
    started, cpu = time.perf_counter(), time.process_time()
    tensors = load()
    touched = sum(touch(tensor) for tensor in tensors.values())
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    json.dump(
        {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "tensors": len(tensors),
            "tensor_bytes": sum(tensor.nbytes for tensor in tensors.values()),
            "touched": touched,
            "before_bytes": before,
            "peak_bytes": peak_bytes(),
            "read_bytes": read_bytes() - read_before,
        },
        sys.stdout,
    )
    return 0


def of_store(store: str, name: str) -> Callable[[], dict[str, Any]]:
    import torch  # noqa: F401 (so that its import is not in the time)

    from casmodels import Store
    from casmodels.runtime.memory import tune_for_large_buffers

    tune_for_large_buffers()

    def load() -> dict[str, Any]:
        with Store(Path(store)) as opened:
            return opened.load_tensors(name, framework="torch")

    return load


def of_file(path: str) -> Callable[[], dict[str, Any]]:
    from safetensors.torch import load_file

    return lambda: dict(load_file(path))


def touch(tensor: Any) -> int:
    """Read a byte of each page; gives their sum."""
    import torch

    return int(tensor.reshape(-1).view(torch.uint8)[::PAGE_BYTES].sum(dtype=torch.int64))


def peak_bytes() -> int:
    """The largest resident set so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def read_bytes() -> int:
    """What this process has caused to be read from the disk."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


if __name__ == "__main__":
    raise SystemExit(main())
