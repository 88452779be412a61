"""How small the corpus gets: one model in each precision, a second copy of it, and the whole family; everyone's store
is measured as the sum of its files, index included, and what comes out is compared byte for byte."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.corpus import WEIGHTS, Corpus, digests_of
from benchmarks.peers import CasmodelsWhole, Peer, ZipNN
from benchmarks.results import Figure, Results
from benchmarks.workplace import Workplace, from_arguments, scratch

# one model's weights in each precision: member of the family, most of the raw size that may be stored
PRECISIONS = {"fp32": ("01-base", 0.83), "bf16": ("02-base-bf16", 0.67), "fp16": ("07-tuned-fp16", 0.85)}
SECOND_COPY, FAMILY, OF_BORG = 0.003, 0.64, 0.85


class NotIdenticalError(Exception):
    """What came out is not what went in."""


def main(arguments: Sequence[str] | None = None) -> int:
    workplace = from_arguments(__doc__, arguments)
    results = Results("size", workplace.parameters())
    corpus = workplace.corpus()
    with scratch(workplace.work / "size") as work:
        precisions(workplace, corpus, work, results)
        second_copies(workplace, corpus, work, results)
        family(workplace, corpus, work, results)
    workplace.save(results)
    return 0


def precisions(workplace: Workplace, corpus: Corpus, work: Path, results: Results) -> None:
    """One weights file at a time, by casmodels and by ZipNN."""
    zipnn = ZipNN(work / "zipnn", workplace.environment(), workplace.torch_python)
    for precision, (member, reach) in PRECISIONS.items():
        source = only_weights(corpus.directory(member), work / f"only-{precision}")
        for peer in (workplace.casmodels(work / "casmodels"), zipnn):
            peer.prepare()
            ratio = store_all(workplace, peer, {precision: source}, work) / size_of(source)
            record(results, peer, precision, size_of(source), ratio)
            limit = reach if peer is not zipnn else None
            results.figures.append(Figure(f"stored / raw, {precision}, {peer.name}", ratio, limit))


def second_copies(workplace: Workplace, corpus: Corpus, work: Path, results: Results) -> None:
    """What the same tensors cost again, as a torch archive and in a mirror under other names."""
    base = corpus.directory("01-base")
    copies = {"mirror": only_weights(corpus.directory("09-mirror"), work / "mirror")}
    if (base / "pytorch_model.bin").exists():
        copies["torch archive"] = only_weights(base, work / "archive", "pytorch_model.bin")
    for what, directory in copies.items():
        peer = workplace.casmodels(work / "casmodels")
        peer.prepare()
        before = store_all(workplace, peer, {"first": only_weights(base, work / "first")}, work)
        grown = store_all(workplace, peer, {"second": directory}, work) - before
        ratio = grown / size_of(directory)
        record(results, peer, f"second copy, {what}", size_of(directory), ratio)
        results.figures.append(Figure(f"second copy / raw, {what}", ratio, SECOND_COPY))


def family(workplace: Workplace, corpus: Corpus, work: Path, results: Results) -> None:
    """All versions, one after the other, in everyone's store."""
    sources = {member.name: corpus.directory(member.name) for member in corpus.members}
    ratios = {}
    for peer in workplace.peers(work / "stores"):
        peer.prepare()
        ratios[peer.name] = store_all(workplace, peer, sources, work) / corpus.size_bytes
        record(results, peer, "family", corpus.size_bytes, ratios[peer.name])
        shutil.rmtree(peer.place)
    name = CasmodelsWhole.name
    ours = ratios.pop(name)
    results.figures += [
        Figure(f"stored / raw, family, {name}", ours, FAMILY),
        Figure(f"stored, family, {name} / borg", ours / ratios["borg"], OF_BORG),
        Figure(f"stored, family, {name} / borg zstd,3", ours / ratios["borg zstd,3"], OF_BORG),
        *(Figure(f"stored / raw, family, {name}", ratio) for name, ratio in ratios.items()),
    ]


def store_all(workplace: Workplace, peer: Peer, sources: dict[str, Path], work: Path) -> int:
    """Put each directory in, take it out, compare; the bytes of the store afterwards."""
    for name, source in sources.items():
        workplace.run(peer.put(source, name))
    for name, source in sources.items():
        workplace.run(peer.get(name, work / "out"))
        if digests_of(work / "out") != digests_of(source):
            raise NotIdenticalError(f"{peer.name}: {name} came out changed")
        shutil.rmtree(work / "out")
    return peer.stored_bytes()


def record(results: Results, peer: Peer, what: str, raw_bytes: int, ratio: float) -> None:
    results.measurements.append(
        {"peer": peer.name, "what": what, "raw_bytes": raw_bytes, "stored_bytes": round(ratio * raw_bytes)}
    )


def only_weights(source: Path, target: Path, pattern: str = "*.safetensors") -> Path:
    """A directory of nothing but the weights file of `source`."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copyfile(next(source.rglob(pattern)), target / (WEIGHTS if "safetensors" in pattern else pattern))
    return target


def size_of(directory: Path) -> int:
    return sum(size for size, _ in digests_of(directory).values())


if __name__ == "__main__":
    raise SystemExit(main())
