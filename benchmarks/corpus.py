"""The family of nine versions that the benchmarks put in and take out, about 730 MB.

Real weights, their casts, and really trained fine-tunes. `python -m benchmarks.corpus BASE ROOT` builds it once, in a
few minutes (torch and transformers needed); `load` reads its manifest and needs nothing but Python.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import texts
from benchmarks.finetune import FineTune, train

WEIGHTS = "model.safetensors"
STEPS = (100, 200, 300)
SEEDS = (20240501, 77)  # of the fine-tune and of the other one


@dataclass(frozen=True)
class Member:
    """One version of the family: a directory, what it is, and the sizes and digests of its files."""

    name: str
    what: str
    files: dict[str, tuple[int, str]]  # path: (bytes, sha256)

    @property
    def size_bytes(self) -> int:
        return sum(size for size, _ in self.files.values())


@dataclass(frozen=True)
class Corpus:
    """A family on disk: `root/name` is the directory of each member, oldest first."""

    root: Path
    members: tuple[Member, ...]

    @property
    def size_bytes(self) -> int:
        return sum(member.size_bytes for member in self.members)

    def directory(self, name: str) -> Path:
        return self.root / name


class NoCorpusError(Exception):
    """No finished corpus lies at this place."""


def load(root: Path) -> Corpus:
    """The corpus that `build` left under `root`. Raises NoCorpusError."""
    manifest = root / "manifest.json"
    if not manifest.exists():
        raise NoCorpusError(f"no corpus at {root}: run `make bench-corpus`")
    members = [
        Member(entry["name"], entry["what"], {path: (size, digest) for path, (size, digest) in entry["files"].items()})
        for entry in json.loads(manifest.read_text())["members"]
    ]
    return Corpus(root / "family", tuple(members))


def digests_of(directory: Path) -> dict[str, tuple[int, str]]:
    """Size in bytes and sha256 of every file under `directory`."""
    files = {}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        files[path.relative_to(directory).as_posix()] = (path.stat().st_size, digest)
    return files


def build(base: Path, root: Path) -> Corpus:
    """Train and cast the family from the model directory `base`; a finished one is left as it is."""
    if (root / "manifest.json").exists():
        return load(root)
    shutil.rmtree(root, ignore_errors=True)
    family = root / "family"
    family.mkdir(parents=True)
    members = []
    for name, what in _write_family(base, family):
        members.append(Member(name, what, digests_of(family / name)))
        _log(f"{name}: {members[-1].size_bytes:,} bytes")
    members.sort(key=lambda member: member.name)
    manifest = {"made_with": _versions(), "members": [asdict(member) for member in members]}
    unfinished = root / "manifest.json.unfinished"
    unfinished.write_text(json.dumps(manifest, indent=1))
    unfinished.rename(root / "manifest.json")
    return load(root)


def _write_family(base: Path, family: Path) -> Iterator[tuple[str, str]]:
    """Write the members one by one; yields each name and what it is, in no particular order."""
    shutil.copytree(base, family / "01-base")
    _write_torch_archive(base / WEIGHTS, family / "01-base" / "pytorch_model.bin")
    yield "01-base", "the real weights in fp32, as safetensors and as a torch archive, as a repository ships them"
    _write_cast(base, family / "02-base-bf16", "bfloat16")
    yield "02-base-bf16", "its bf16 cast"
    names = {step: f"0{3 + index}-tuned-{step}" for index, step in enumerate(STEPS)}
    tuned = FineTune(texts.reference_pairs(), SEEDS[0], STEPS)
    train(base, tuned, lambda model, tokenizer, step: _save(model, tokenizer, family / names[step]), _log)
    for step, name in names.items():
        yield name, f"a fine-tune on the language reference after {step} steps, fp32"
    last = family / names[STEPS[-1]]
    _write_cast(last, family / "06-tuned-bf16", "bfloat16")
    yield "06-tuned-bf16", "the finished fine-tune in bf16"
    _write_cast(last, family / "07-tuned-fp16", "float16")
    yield "07-tuned-fp16", "the finished fine-tune in fp16"
    other = FineTune(texts.docstring_pairs(), SEEDS[1], STEPS[-1:])
    train(
        base,
        other,
        lambda model, tokenizer, _: _save(_cast(model, "bfloat16"), tokenizer, family / "08-other-bf16"),
        _log,
    )
    yield "08-other-bf16", "another fine-tune, on docstrings, in bf16"
    _write_mirror(base, family / "09-mirror")
    yield "09-mirror", "the real weights again, byte for byte, under other names"


def _write_torch_archive(weights: Path, target: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(weights), target)


def _write_cast(source: Path, target: Path, dtype: str) -> None:
    """Load, cast and save, as users make the smaller copies of their models."""
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(source, local_files_only=True)
    _save(_cast(model, dtype), AutoTokenizer.from_pretrained(source, local_files_only=True), target)


def _cast(model: Any, dtype: str) -> Any:
    import torch

    return model.to(getattr(torch, dtype))


def _save(model: Any, tokenizer: Any, target: Path) -> None:
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _write_mirror(base: Path, target: Path) -> None:
    (target / "weights").mkdir(parents=True)
    shutil.copy(base / WEIGHTS, target / "weights" / "minilm-l6-fp32.safetensors")
    shutil.copytree(base, target, ignore=shutil.ignore_patterns(WEIGHTS), dirs_exist_ok=True)


def _versions() -> dict[str, str]:
    import torch
    import transformers

    return {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}


def _log(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path, help="directory of the real weights")
    parser.add_argument("root", type=Path, help="where the corpus is kept")
    options = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    corpus = build(options.base, options.root)
    _log(f"{len(corpus.members)} versions, {corpus.size_bytes:,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
