"""What content-defined cutting costs and gains: two libraries, three average sizes (docs/adr/002-fastcdc-library.md).

python -m benchmarks.cut_points        needs pyfastcdc, and fastcdc for the comparison; a minute, 1 GiB of memory
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np

INDEX_BYTES = 177  # for one chunk, measured, its sketch included
SIZE_BYTES = 192 << 20
AVERAGES = (256 << 10, 512 << 10, 1 << 20)


def main() -> None:
    random = np.random.default_rng(7)
    base = random.bytes(SIZE_BYTES)
    speeds(base)
    changed = dict(variants(base, random))
    print("average  mean KiB  index %  " + "  ".join(changed))
    for average in AVERAGES:
        row(base, changed, average, 1)
        row(base, changed, average, 2)


def speeds(data: bytes) -> None:
    """GB of noise cut per second of CPU."""
    import pyfastcdc
    from fastcdc import fastcdc

    for average in AVERAGES:
        ways: dict[str, Callable[[], Iterator[object]]] = {
            "pyfastcdc": partial(pyfastcdc.FastCDC(average).cut_buf, data),
            "fastcdc": partial(fastcdc, data, average // 4, average, average * 4),
        }
        for name, cut in ways.items():
            seconds = []
            for _ in range(3):
                started = time.process_time()
                chunks = sum(1 for _ in cut())
                seconds.append(time.process_time() - started)
            print(f"{name}: average {average >> 10} KiB, {len(data) / min(seconds) / 1e9:.2f} GB/s, {chunks} chunks")


def variants(base: bytes, random: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """The file changed in ways that files of models are."""
    yield "one byte in front", b"x" + base
    yield "20 edits of 64 B", changed_at(base, random, replaced=64)
    yield "20 insertions of 64 B", changed_at(base, random, replaced=0)
    sizes = random.choice([300 << 10, 600 << 10, 1200 << 10, 2400 << 10, 9 << 20], 2000, p=[0.4, 0.2, 0.2, 0.15, 0.05])
    edges = [0, *(int(edge) for edge in np.cumsum(sizes) if edge < len(base)), len(base)]
    tensors = [base[start:stop] for start, stop in pairwise(edges)]
    yield (
        "a tenth of the tensors replaced",
        b"".join(random.bytes(len(tensor)) if random.random() < 0.1 else tensor for tensor in tensors),
    )
    yield "tensors in another order", b"".join(tensors[number] for number in random.permutation(len(tensors)))
    yield "another header for each tensor", b"".join(random.bytes(64) + tensor for tensor in tensors)


def changed_at(base: bytes, random: np.random.Generator, replaced: int) -> bytes:
    parts, position = [], 0
    for place in sorted(int(place) for place in random.integers(0, len(base), 20)):
        parts += [base[position:place], random.bytes(64)]
        position = place + replaced
    return b"".join([*parts, base[position:]])


def row(base: bytes, changed: dict[str, bytes], average: int, normalisation: Literal[1, 2]) -> None:
    """The share of each variant that is not yet there."""
    known = digests(base, average, normalisation)
    mean = len(base) / len(known)
    shares = []
    for data in changed.values():
        new = digests(data, average, normalisation).items() - known.items()
        shares.append(100 * sum(length for _, length in new) / len(data))
    shown = "  ".join(f"{share:.2f}" for share in shares)
    print(f"{average >> 10} KiB, nc {normalisation}: {mean / 1024:.0f}  {100 * INDEX_BYTES / mean:.4f}  {shown}")


def digests(data: bytes, average: int, normalisation: Literal[1, 2]) -> dict[bytes, int]:
    from pyfastcdc import FastCDC

    chunker = FastCDC(average, min_size=average // 4, max_size=average * 4, normalized_chunking=normalisation)
    return {hashlib.blake2b(chunk.data, digest_size=16).digest(): chunk.length for chunk in chunker.cut_buf(data)}


if __name__ == "__main__":
    main()
