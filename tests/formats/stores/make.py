"""Make a small store with this release, and note beside it what is in it. Writes no file that is there already."""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

import casmodels
from casmodels import config
from casmodels.library import Store
from casstore.casts import Cast, apply_cast
from casstore.codecs import Codec
from casstore.engine import Engine
from casstore.frames import FrameKind
from casstore.index import schema
from casstore.index.order import frames_in_packs
from casstore.layout import FORMAT_VERSION
from casstore.maintenance import gc
from casstore.store import Store as ByteStore
from casstore.testing.builders import all_contents
from tests.models.reading.weights import safetensors_of, save

DIRECTORY: Final = Path(__file__).parent
NAME: Final = f"format-{FORMAT_VERSION}-index-{schema.VERSION}"
_WORDS: Final = 6000


def main() -> int:
    """Exit status 1 where the store of these versions is there already: what later releases must read never changes."""
    archive, notes = DIRECTORY / f"{NAME}.tar.xz", DIRECTORY / f"{NAME}.json"
    if archive.exists() or notes.exists():
        sys.stderr.write(f"{NAME} is there already, and stays as it is\n")
        return 1
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "config.toml").touch()
        fill(work)
        notes.write_text(json.dumps(describe(work / "store"), indent=1) + "\n")
        with tarfile.open(archive, "w:xz") as tar:
            tar.add(work / "store", "store", filter=_nobodys)
    sys.stdout.write(f"{archive.name}: {archive.stat().st_size:,} bytes\n")
    return 0


def fill(work: Path) -> None:
    """A store with every codec, and with what is removed, tagged, pinned and collected."""
    base = np.random.default_rng(1).normal(0, 0.05, _WORDS).astype("<f4")
    tuned = (base + np.random.default_rng(2).normal(0, 1e-5, _WORDS)).astype("<f4")
    text = b'{"architectures": ["Example"], "hidden_size": 64}\n' * 40
    noise = np.random.default_rng(3).bytes(3000)
    (work / "model").mkdir()
    with open_store(work) as store:
        save(store, "collected", work / "model", {"gone.bin": noise[:2000]})
        store.remove("collected")
        store.gc()
        save(store, "base", work / "model", {"model.safetensors": _float32(base), "config.json": text})
        save(store, "tuned", work / "model", {"model.safetensors": _float32(tuned), "config.json": text})
        save(store, "halves/tuned", work / "model", {"model.safetensors": _bfloat16(tuned), "config.json": text})
        save(store, "halves/base", work / "model", {"model.safetensors": _bfloat16(base)})
        first = save(store, "mine", work / "model", {"data.bin": noise, "empty.txt": b"", "deep/er/text.txt": text})
        (work / "model" / "link").symlink_to("deep/er/text.txt")
        save(store, "mine", work / "model", {"data.bin": noise[::-1], "link": text, "deep/er/text.txt": text})
        removed = save(store, "mine", work / "model", {"data.bin": noise * 2})
        store.tag(f"mine@{first}", "v1")
        store.tag(f"mine@{removed}", "v2")
        store.pin(f"mine@{first}")
        store.pin("tuned")
        store.remove(f"mine@{removed}")


def open_store(work: Path) -> Store:
    """The store in that directory, configured by nothing but a file beside it."""
    environ = {"HOME": str(work), "CASMODELS_CONFIG": str(work / "config.toml")}
    return Store(config=config.load(store=work / "store", environ=environ))


def describe(path: Path) -> dict[str, Any]:
    """What is in a store: refs, the SHA-256 of every file, ids of versions that are removed and not collected yet, and
    how many chunks each codec has, with that of the chunk's base."""
    with ByteStore.open(path) as store:
        with store.reading() as reader:
            refs = [[ref.key.kind, ref.key.name, ref.key.label, str(ref.target), ref.order] for ref in reader.refs()]
            found = {version.hex for digit in "0123456789abcdef" for version in reader.versions_with_prefix(digit)}
            dead = gc.estimate(store.engine)
        return {
            "release": casmodels.__version__,
            "refs": refs,
            "files": {
                f"{name}@{version}": {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
                for (name, version), files in all_contents(store).items()
            },
            "removed": sorted(found - {ref[2] for ref in refs if ref[0] == "version"}),
            "dead_chunks": dead.chunks,
            "codecs": Counter(sorted(_codecs(store.engine))),
        }


def _codecs(engine: Engine) -> Iterator[str]:
    rows = engine.ledger.rows
    with frames_in_packs(rows.database, rows.pack_ids()) as frames:
        for row in frames:
            base = rows.frame(FrameKind.CHUNK, row.base) if row.base is not None else None
            if row.kind is FrameKind.CHUNK:
                yield Codec(row.codec).name + (f" of {Codec(base.codec).name}" if base is not None else "")


def _float32(words: np.ndarray[Any, Any]) -> bytes:
    return safetensors_of({"layer.weight": words})


def _bfloat16(words: np.ndarray[Any, Any]) -> bytes:
    narrow = apply_cast(Cast.FLOAT32_TO_BFLOAT16, words.tobytes())
    return safetensors_of({"layer.weight": narrow}, {"layer.weight": "BF16"})


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without who made it, and when."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    raise SystemExit(main())
