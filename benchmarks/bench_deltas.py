"""What near-copies cost: the family and pairs of it against the two published delta methods on the same files, and the
engine's speed and reading on deltas. Sizes are of whole stores; speeds are per CPU second of a warm engine."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.bench_size import only_weights, record, size_of, store_all
from benchmarks.corpus import Corpus
from benchmarks.int8 import write_int8
from benchmarks.published import methods
from benchmarks.results import Figure, Results
from benchmarks.workplace import Workplace, from_arguments, scratch
from casmodels.formats import find_spans
from casmodels.runtime.memory import tune_for_large_buffers
from casstore.codecs import Codec
from casstore.digests import Digest
from casstore.store import Store

TX = "TX, from its paper"
FAMILY, FAMILY_OF_TX, BF16_OF_TX, FP32_OF_TX, SECOND_COPY = 0.29, 0.61, 0.75, 0.87, 0.003
INGEST, RESTORE = 4.0, 2.5  # CPU seconds per GB: 0.25 and 0.4 GB for each
PAIRS = {
    "bf16 fine-tune against its base": ("02-base-bf16", "06-tuned-bf16", BF16_OF_TX),
    "fp32 checkpoint against the one before": ("03-tuned-100", "04-tuned-200", FP32_OF_TX),
    "fp16 fine-tune after the fp32 base": ("01-base", "07-tuned-fp16", None),
}
COPIES = {
    "bf16 after fp32": ("01-base", "02-base-bf16"),
    "bf16 after an fp32 that is a delta": ("05-tuned-300", "06-tuned-bf16"),
    "fp16 after an fp32 that is a delta": ("05-tuned-300", "07-tuned-fp16"),
    "mirror": ("01-base", "09-mirror"),
}
READS = {
    "bf16 delta": (("02-base-bf16",), "06-tuned-bf16", Codec.DELTA, 0.8),
    "fp32 delta": (("03-tuned-100",), "04-tuned-200", Codec.DELTA, 1.25),
    "cast": (("01-base",), "02-base-bf16", Codec.CAST, 1.7),
}


def main(arguments: Sequence[str] | None = None) -> int:
    tune_for_large_buffers()  # as the command line does
    workplace = from_arguments(__doc__, arguments)
    results = Results("deltas", workplace.parameters())
    corpus = workplace.corpus()
    with scratch(workplace.work / "deltas") as work:
        family(workplace, corpus, work, results)
        pairs(workplace, corpus, work, results)
        int8(workplace, corpus, work, results)
        second_copies(workplace, corpus, work, results)
        speeds(workplace, corpus, work, results)
    workplace.save(results)
    return 0


def family(workplace: Workplace, corpus: Corpus, work: Path, results: Results) -> None:
    """All versions, one after the other."""
    sources = {member.name: corpus.directory(member.name) for member in corpus.members}
    peer = workplace.casmodels(work / "casmodels")
    peer.prepare()
    ours = store_all(workplace, peer, sources, work)
    record(results, peer, "family", corpus.size_bytes, ours / corpus.size_bytes)
    results.figures.append(Figure("stored / raw, family, deltas", ours / corpus.size_bytes, FAMILY))
    for name, method in methods().items():
        for directory in sources.values():
            method.put(sorted(path for path in directory.rglob("*") if path.is_file()))
        results.figures.append(Figure(f"stored / raw, family, {name}", method.stored_bytes / corpus.size_bytes))
        limit = FAMILY_OF_TX if name == TX else None
        results.figures.append(Figure(f"stored, family, casmodels / {name}", ours / method.stored_bytes, limit))


def pairs(workplace: Workplace, corpus: Corpus, work: Path, results: Results) -> None:
    """The weights of a second version after those of a first."""
    for what, (first, second, limit) in PAIRS.items():
        ours, raw_bytes = grown(workplace, corpus, work, first, second)
        results.figures.append(Figure(f"delta / raw, {what}", ours / raw_bytes))
        for name, method in methods().items():
            method.put([next(corpus.directory(first).rglob("*.safetensors"))])
            before = method.stored_bytes
            method.put([next(corpus.directory(second).rglob("*.safetensors"))])
            theirs = method.stored_bytes - before
            reach = limit if name == TX else None
            results.figures.append(Figure(f"delta, {what}, casmodels / {name}", ours / theirs, reach))


def int8(workplace: Workplace, corpus: Corpus, work: Path, results: Results) -> None:
    """A checkpoint after the one before, both quantised."""
    peer = workplace.casmodels(work / "casmodels")
    peer.prepare()
    stored = []
    for member in PAIRS["fp32 checkpoint against the one before"][:2]:
        directory = work / "int8" / member
        directory.mkdir(parents=True)
        write_int8(next(corpus.directory(member).rglob("*.safetensors")), directory / "model.safetensors")
        stored.append(store_all(workplace, peer, {f"int8-{member}": directory}, work))
    share = (stored[1] - stored[0]) / size_of(directory)
    results.figures.append(Figure("delta / raw, int8 checkpoint against the one before", share))


def second_copies(workplace: Workplace, corpus: Corpus, work: Path, results: Results) -> None:
    """What a second precision or a mirror of a stored model costs."""
    for what, (first, second) in COPIES.items():
        ours, raw_bytes = grown(workplace, corpus, work, first, second, after="01-base")
        results.figures.append(Figure(f"second copy / raw, {what}", ours / raw_bytes, SECOND_COPY))


def grown(
    workplace: Workplace, corpus: Corpus, work: Path, first: str, second: str, after: str | None = None
) -> tuple[int, int]:
    """By how many bytes a store grows that has the weights of the first, and of ``after``; and the raw bytes."""
    peer = workplace.casmodels(work / "casmodels")
    peer.prepare()
    names = dict.fromkeys([after, first] if after is not None else [first])
    before = store_all(
        workplace, peer, {name: only_weights(corpus.directory(name), work / name) for name in names}, work
    )
    source = only_weights(corpus.directory(second), work / "second")
    grown_bytes = store_all(workplace, peer, {"second": source}, work) - before
    return grown_bytes, size_of(source)


def speeds(workplace: Workplace, corpus: Corpus, work: Path, results: Results) -> None:
    """The engine's own speed, warm and on one core, in CPU seconds for a GB of raw bytes; and what it reads."""
    with one_core():
        for what, (bases, member, codec, most_read) in READS.items():
            weights = next(corpus.directory(member).rglob("*.safetensors"))
            size_bytes = weights.stat().st_size
            seconds: dict[str, list[float]] = {"ingest": [], "restore": [], "load": []}
            memory = memoryview(bytearray(size_bytes))
            for _ in range(1 + workplace.runs):  # in the first one, what there is to compile is compiled
                shutil.rmtree(work / "engine", ignore_errors=True)
                with Store.open(work / "engine", create=True, finder=find_spans) as store:
                    for base in bases:
                        ingest(store, next(corpus.directory(base).rglob("*.safetensors")))
                    with cpu_seconds() as ingesting:
                        blob = ingest(store, weights)
                    with counted_reads(store) as reads, cpu_seconds() as restoring:
                        restore(store, blob)
                    read_bytes = reads()
                    with cpu_seconds() as loading:
                        load(store, blob, memory)
                seconds["ingest"].append(ingesting())
                seconds["restore"].append(restoring())
                seconds["load"].append(loading())
            if codec is Codec.DELTA:
                for action, limit in (("ingest", INGEST), ("restore", RESTORE), ("load", RESTORE)):
                    per_gb = median(seconds[action][1:]) / (size_bytes / 1e9)
                    results.figures.append(Figure(f"{action}, CPU seconds per GB, {what}", per_gb, limit, " s"))
            results.figures.append(Figure(f"read / restored, {what}", read_bytes / size_bytes, most_read))


@contextmanager
def one_core() -> Iterator[None]:
    """Cores that share a memory bus or a pipeline take time from each other; a figure per core is one core's own."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def ingest(store: Store, weights: Path) -> Digest:
    with store.writing() as transaction:
        stored = transaction.add_file(weights)
        transaction.keep(stored.info)
        transaction.commit()
    return stored.info.sha256


def restore(store: Store, blob: Digest) -> None:
    """As a checkout does: the whole is compared with its SHA-256."""
    with store.reading() as reader:
        hasher = hashlib.sha256()
        for piece in reader.open_blob(blob).stream(check=False):
            hasher.update(piece)
        assert hasher.digest() == blob.value


def load(store: Store, blob: Digest, memory: memoryview) -> None:
    """As tensors are loaded: each chunk is compared with its digest."""
    with store.reading() as reader:
        reader.open_blob(blob).fill([(0, memory)])


@contextmanager
def cpu_seconds() -> Iterator[Callable[[], float]]:
    started, ended = time.process_time(), 0.0
    yield lambda: ended - started
    ended = time.process_time()


@contextmanager
def counted_reads(store: Store) -> Iterator[Callable[[], int]]:
    """The bytes that are read from packs."""
    packs, total = store.engine.packs, 0
    real = packs.read

    def read(pack_id: bytes, offset: int, length: int) -> bytes:
        nonlocal total
        total += length
        return real(pack_id, offset, length)

    packs.read = read  # type: ignore[method-assign]
    yield lambda: total


if __name__ == "__main__":
    raise SystemExit(main())
