"""gc, verify, rebuild, compact, list and versions on stores of millions of chunks, and of 100,000 versions: bounded
memory, and time that grows with the store alone.

Each operation runs in a process of its own, on stores of three sizes and on an empty one. Its memory may grow by 120
bytes for each chunk, beside what it takes anyway: the peak on a store, less the peak on the empty one. Its CPU time for
each chunk must be about the same in all. What is synthetic is the chunks' size, 16 bytes, so that packs are small;
packs, trailers, recipes, trees, versions and the journal are as the product writes them, and a rebuild makes the index.
Where every chunk is read and hashed, the stores are smaller.

What list and versions tell has its own size for each version: there the bound is for each version.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.torture.groups.bounded.stores import Packs, make_packs, make_store
from tests.torture.plan import Mutation, Outcome, Plan

_BYTES_EACH: Final = {"chunks": 120, "versions": 3000}
_FILES_EACH: Final = 25
_CHUNKS_OF_SMALL: Final = 4


@dataclass(frozen=True, slots=True)
class _Scale:
    """How many chunks a version has, and how many versions the stores, those whose chunks are read, and those of many
    small versions; how many chunks the four huge files have, 0 for none; how many bytes an operation may take anyway;
    and how many times as long it may take for a chunk in the largest store as in the smallest."""

    chunks_each: int
    versions: tuple[int, ...]
    read_versions: tuple[int, ...]
    many_versions: tuple[int, ...]
    chunks_of_huge: int
    constant_bytes: int
    most_growth: float


_FULL: Final = _Scale(25_000, (40, 100, 200), (4, 10, 20), (20_000, 100_000), 250_000, 64 << 20, 1.5)
_SHORT: Final = _Scale(12_500, (4, 8), (1, 3), (), 0, 16 << 20, 2.0)


@dataclass(frozen=True, slots=True)
class _Sized:
    """A store, and how many chunks, or versions, it has."""

    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class _Cost:
    peak_bytes: int
    cpu_seconds: float


def run(plan: Plan) -> Iterator[Outcome]:
    """The structure of all sizes, the content of smaller ones, a store of four huge files, and one of many versions."""
    scale = _SHORT if plan.is_short else _FULL
    packs = make_packs(plan.work / "packs", max(scale.versions), _FILES_EACH, scale.chunks_each // _FILES_EACH)
    stores = _make_stores(plan.work / "stores", packs, scale.versions, scale.chunks_each)
    for operation in ("rebuild", "verify"):
        yield _measure(plan, scale, operation, stores)
    read = _make_stores(plan.work / "read", packs, scale.read_versions, scale.chunks_each)
    for store in read:
        _cost(plan, "rebuild", store.path)
    yield _measure(plan, scale, "verify NAME --data", read)
    ends = [stores[0], stores[1], stores[-1]]
    for operation in ("list", "versions"):
        yield _measure(plan, scale, operation, ends)
    yield _measure(plan, scale, "compact", read if plan.is_short else ends)
    yield _measure(plan, scale, "gc", stores)
    for operation in () if plan.is_short else ("verify --data", "compact of small packs"):
        yield _measure(plan, scale, operation, read)
    if scale.chunks_of_huge:
        packs = make_packs(plan.work / "huge", 4, 1, scale.chunks_of_huge)
        stores = _make_stores(plan.work / "of-huge", packs, (4,), scale.chunks_of_huge)
        for operation in ("rebuild", "verify", "list", "versions", "gc"):
            yield _measure(plan, scale, operation, stores, where=" in four files")
    if scale.many_versions:
        packs = make_packs(plan.work / "small", max(scale.many_versions), 1, _CHUNKS_OF_SMALL)
        stores = _make_stores(plan.work / "of-small", packs, scale.many_versions, 1)
        for operation in ("rebuild", "list", "versions"):
            yield _measure(plan, scale, operation, stores, what="versions")


def _make_stores(directory: Path, packs: Packs, versions: tuple[int, ...], size_of_each: int) -> list[_Sized]:
    """An empty store, then one for each number of versions."""
    stores = [_Sized(directory / str(count), count * size_of_each) for count in (0, *versions)]
    for store, count in zip(stores, (0, *versions), strict=True):
        make_store(store.path, packs, count)
    return stores


def _measure(
    plan: Plan, scale: _Scale, operation: str, stores: list[_Sized], *, what: str = "chunks", where: str = ""
) -> Outcome:
    bytes_each = _BYTES_EACH[what]
    empty, *costs = (_cost(plan, operation, store.path) for store in stores)
    sizes = [store.size for store in stores[1:]]
    more = [cost.peak_bytes - empty.peak_bytes for cost in costs]
    micros = [(cost.cpu_seconds - empty.cpu_seconds) / size * 1e6 for cost, size in zip(costs, sizes, strict=True)]
    failures = [
        f"{operation} takes {peak:,} bytes more for {size:,} {what} than for none (seed {plan.seed})"
        for peak, size in zip(more, sizes, strict=True)
        if peak > bytes_each * size + scale.constant_bytes
    ]
    slope = (more[-1] - more[0]) / (sizes[-1] - sizes[0]) if len(sizes) > 1 else more[0] / sizes[0]
    if slope > bytes_each:
        failures.append(f"{operation} takes {slope:.0f} bytes more for each of more {what} (seed {plan.seed})")
    growth = micros[-1] / micros[0]
    if growth > scale.most_growth:
        failures.append(f"{operation} takes {growth:.2f} times as long for each where there are more {what}")
    note = (
        f"{', '.join(f'{size:,}' for size in sizes)} {what}{where}: "
        f"{', '.join(f'{peak / 1e6:.0f}' for peak in more)} MB more than for none, {max(slope, 0):.0f} bytes for each; "
        f"{', '.join(f'{each:.1f}' for each in micros)} µs of CPU for each, {growth:.2f} times"
    )
    return Outcome(f"{operation}, measured", len(sizes), tuple(failures), note)


def _cost(plan: Plan, operation: str, store: Path) -> _Cost:
    """What an operation takes in a process of its own."""
    command = [sys.executable, "-m", "tests.torture.groups.bounded.measured", operation, str(store)]
    if plan.is_short:
        command.append("small")
    environment = {"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin", "TMPDIR": str(plan.work)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{operation} on {store.name} versions failed: {done.stderr}")
    return _Cost(**json.loads(done.stdout))


MUTATIONS: Final = [
    Mutation(
        "gc keeps the name of each chunk, as bytes and as text",
        "store/casstore/maintenance/needed.py",
        "            reach.add(closure(engine, kind, digest, walked, unmade))",
        "            names = closure(engine, kind, digest, walked, unmade)\n"
        "            reach.add(name for name in names if not walked.add((name, name[1].hex())))",
    ),
    Mutation(
        "a verify keeps an object for each chunk",
        "store/casstore/maintenance/verify.py",
        "        yield from _read(engine, rows, progress, compare=True)",
        "        yield from _read(engine, list(rows), progress, compare=True)",
    ),
    Mutation(
        "a verify of the structure keeps an object for each chunk",
        "store/casstore/maintenance/findings.py",
        "            whole.add(seen)",
        "            whole.add((seen, *((0, chunk) for chunks in outline.chunks() for chunk in chunks)))",
    ),
    Mutation(
        "versions keeps an object for each chunk",
        "store/casstore/index/counted.py",
        "            self.stored_bytes += sum(length for length, _ in fresh)",
        "            self.stored_bytes += sum(length for length, _ in fresh)\n"
        '            self.__dict__.setdefault("kept", []).extend(found)',
    ),
    Mutation(
        "list keeps the name of each chunk, as bytes and as text",
        "store/casstore/needs.py",
        "        reach.add(_names(engine, versions, unreadable))",
        "        kept = set()\n"
        "        names = _names(engine, versions, unreadable)\n"
        "        reach.add(name for name in names if not kept.add((name, name[1].hex())))",
    ),
    Mutation(
        "compact keeps an object for each chunk",
        "store/casstore/maintenance/replan.py",
        "        for alike in groups:",
        "        for alike in list(groups):",
    ),
    Mutation(
        "a rebuild keeps an object for each chunk",
        "store/casstore/index/filling.py",
        "        blobs.extend(blob_values(pack))",
        '        blobs.extend(blob_values(pack))\n        rows.__dict__.setdefault("kept", []).append(pack)',
    ),
]
