"""Frames under right checksums whose content lies: about its length, its digest, or what it stands for."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import numpy as np
import zstandard

from casmodels.library import Store
from casstore import codecs
from casstore.codecs.ids import Codec
from casstore.digests import Digest, blake3_digest, sha256_digest
from casstore.engine import decoded
from casstore.errors import DamagedError, StoreError
from casstore.frames import Frame, FrameHeader, FrameKind, recipe_hint
from casstore.index.order import frames_in_packs
from casstore.packs import PackWriter
from casstore.recipes import Part, Recipe
from casstore.store import Store as Engine
from casstore.testing.builders import noise, put, version_key
from casstore.transactions import Transaction
from casstore.trees import Entry, Tree
from casstore.versions import Version
from tests.models.serve.shelf import hub
from tests.torture.groups.hostile.memory import peak_bytes
from tests.torture.groups.hostile.stores import open_store
from tests.torture.plan import Outcome, Plan

_MOST_BYTES: Final = 128 << 20
_CLAIMED_BYTES: Final = 512 << 20


def run(plan: Plan) -> Iterator[Outcome]:
    """Frames by the hundred or the ten thousand; the stores by name."""
    yield _frames(plan.random("frames"), 400 if plan.is_short else 40_000)
    yield _bombs()
    yield _odd_versions(plan)
    yield _lying_recipe(plan)
    yield _packs_by_hand(plan)


def _frames(chance: random.Random, count: int) -> Outcome:
    """A frame decodes to the very bytes that its digest names, or to an error."""
    floats = np.random.default_rng(1).standard_normal(40_000).astype("<f4")
    raws = [(bytes(range(256)) * 40, 0), (b"words and words " * 2000, 0), (floats.tobytes(), 4), (noise(1, 5000), 0)]
    sound = [(raw, *codecs.encode(raw, width)) for raw, width in raws]
    failures = []
    for number in range(count):
        raw, codec, stored = chance.choice(sound)
        digest = blake3_digest(raw).value
        payload, length = bytearray(stored), len(raw)
        for _ in range(chance.randint(1, 3)):
            match chance.randrange(5):
                case 0:
                    payload[chance.randrange(len(payload))] ^= 1 << chance.randrange(8)
                case 1:
                    del payload[max(1, chance.randrange(len(payload))) :]
                case 2:
                    payload += chance.randbytes(chance.choice((1, 8, 4096)))
                case 3:
                    length = chance.choice((0, 1, length - 1 if length else 1, length + 1, 8 << 20))
                case _:
                    start = chance.randrange(min(len(payload), 64))
                    payload[start : start + 4] = chance.choice((b"\xff" * 4, bytes(4), chance.randbytes(4)))
        claimed = chance.choice((codec, codec, codec, *Codec, 77))
        header = FrameHeader(FrameKind.CHUNK, digest, claimed, length, len(payload))
        frame = Frame.of(header, bytes(payload))
        try:
            found = decoded(frame.front + bytes(frame.payload), FrameKind.CHUNK, digest)
            if bytes(found) != raw:
                failures.append(f"frame {number}, of codec {claimed}, gave other bytes than its digest names")
        except DamagedError:
            continue
        except Exception as error:
            failures.append(f"frame {number}, of codec {claimed}, raised {error!r:.200}")
    return Outcome("frames whose payload or length lies", count, tuple(failures))


def _bombs() -> Outcome:
    """zstd frames that would unpack to a hundred times what the header says, with and without their size in them."""
    failures: list[str] = []
    for states_size in (True, False):
        compressor = zstandard.ZstdCompressor(level=1, write_content_size=states_size)
        writer = compressor.compressobj(size=_CLAIMED_BYTES if states_size else -1)
        block = bytes(1 << 20)
        bomb = b"".join([writer.compress(block) for _ in range(_CLAIMED_BYTES >> 20)]) + writer.flush()
        for raw_length in (1000, 8 << 20):
            frame = Frame.of(FrameHeader(FrameKind.CHUNK, bytes(32), Codec.ZSTD, raw_length, len(bomb)), bomb)
            peak = peak_bytes(lambda frame=frame: _refused(frame, failures))  # type: ignore[misc]
            if peak > _MOST_BYTES:
                failures.append(f"a zstd frame of {_CLAIMED_BYTES} bytes took {peak} bytes of memory")
    return Outcome("zstd frames that yield far more than they may", 4, tuple(failures))


def _refused(frame: Frame, failures: list[str]) -> None:
    try:
        decoded(frame.front + bytes(frame.payload), FrameKind.CHUNK, bytes(32))
        failures.append("a zstd frame of another length than its header says was decoded")
    except DamagedError:
        return


_ODD: Final[dict[str, Callable[[dict[str, Any]], object]]] = {
    "a time beyond all calendars": lambda record: record.update(created_ns=1 << 70),
    "a time that is a text": lambda record: record.update(created_ns="now"),
    "a source that is a list": lambda record: record.update(source=[]),
    "a message that is a number": lambda record: record.update(message=5),
    "a commit that goes up": lambda record: record["metadata"].update(revision="../../../up"),
    "upstream files that are none": lambda record: record["metadata"].update(upstream_files={"a": 5, "b": {}}),
    "upstream files with paths": lambda record: record["metadata"].update(
        upstream_files={"a": {"size": "x", "blob_id": "../../up"}, "../up": {"size": 1, "blob_id": "../up"}}
    ),
    "tags and cards of other types": lambda record: record["metadata"].update(tags=5, licence=[], base_models={"a": 1}),
    "metadata very deep": lambda record: record["metadata"].update(deep=json.loads("[" * 300 + "]" * 300)),
    "a name that goes up": lambda record: record["metadata"].update(name="../../up", requested_revision="../../up"),
}


def _odd_versions(plan: Plan) -> Outcome:
    """Version records that are canonical, under their own id, and nonsense."""
    root = plan.work / "versions"
    root.mkdir()
    failures = []
    with Engine.open(root / "store", create=True) as engine:
        sound = put(engine, "sound", {"a": b"sound"})
        with engine.reading() as reader:
            encoded = reader.version(sound).encoded
        with engine.writing() as transaction:
            for number, change in enumerate(_ODD.values()):
                record = json.loads(encoded)
                change(record)
                odd = json.dumps(record, sort_keys=True, separators=(",", ":")).encode("ascii")
                _put_record(transaction, FrameKind.VERSION, odd)
                transaction.set_ref(version_key(f"odd{number}", blake3_digest(odd)), blake3_digest(odd))
            transaction.commit()
    with open_store(root) as store:
        for number, what in enumerate(_ODD):
            failures += [f"a version with {what}: {failure}" for failure in _use(store, f"odd{number}", root / "out")]
        failures += _use(store, "sound", root / "out")
    made = sorted(path.name for path in root.rglob("*up*"))
    failures += [f"{made} was made outside of the view"] if made else []
    return Outcome("version records that are nonsense", len(_ODD), tuple(failures))


def _put_record(transaction: Transaction, kind: FrameKind, encoded: bytes, hint: bytes = b"") -> Digest:
    digest = blake3_digest(encoded)
    transaction._add_record(kind, encoded, digest, hint)
    return digest


def _use(store: Store, name: str, out: Path) -> Iterator[str]:
    """Everything that reads a version; only errors of the store's own kind are right."""
    uses: list[Callable[[], object]] = [
        lambda: store.versions(name),
        lambda: store.ls(name),
        lambda: store.info(name),
        lambda: store.checkout(name, out),
        lambda: store.view([name], path=out.with_name("view")),
        lambda: store.diff(name, "sound"),
        lambda: store.verify(name),
        store.list,
    ]
    for use in uses:
        try:
            use()
        except StoreError:
            continue
        except Exception as error:
            yield f"raised {error!r:.200}"


def _lying_recipe(plan: Plan) -> Outcome:
    """A recipe that gives other bytes under a blob's name: no file of these bytes is ever made or sent, and a check of
    every byte names who suffers."""
    root = plan.work / "recipe"
    root.mkdir()
    wanted, given = b"what was asked for", b"what is given for it"
    failures = []
    with Engine.open(root / "store", create=True) as engine, engine.writing() as transaction:
        transaction.add_bytes(given, "given")
        part = Part(blake3_digest(given).value, 0, len(wanted))
        recipe = Recipe(sha256_digest(wanted), len(wanted), (part,))
        _put_record(transaction, FrameKind.RECIPE, recipe.encoded, recipe_hint(recipe))
        transaction.commit()
        with engine.writing() as second:
            _put_version(second, Tree((Entry.file("a", recipe.sha256, len(wanted)),)))
            second.commit()
        put(engine, "honest", {"given": given})
    with open_store(root) as store:
        uses: dict[str, Callable[[], object]] = {
            "checkout": lambda: store.checkout("lying", root / "out"),
            "view": lambda: store.view(["lying"], path=root / "view"),
            "cat": lambda: b"".join(store.cat("lying", "a")),
        }
        for way, use in uses.items():
            try:
                use()
                failures.append(f"{way} gave the bytes of a recipe that lies about its blob's name")
            except StoreError:
                continue
        with hub(store._context.engine()) as served:
            if served.ask("/lying/resolve/main/a").status == HTTPStatus.OK:
                failures.append("serve gave the bytes of a recipe that lies about its blob's name")
        for target in (None, "lying"):
            named = [(damage.model, damage.path) for damage in store.verify(target, data=True).damaged]
            if named != [("lying", "a")]:
                failures.append(f"verify --data of {target or 'everything'} names {named}")
        if [(damage.model, damage.path) for damage in store.repair().lost] != [("lying", "a")]:
            failures.append("repair does not call lost what a recipe lies about")
        store.checkout("honest", root / "honest")
    failures += [f"{path.name} was made" for path in (root / "out").rglob("*")]
    return Outcome("recipes that give other bytes under a blob's name", len(uses) + 4, tuple(failures))


def _put_version(transaction: Transaction, tree: Tree) -> None:
    digest = transaction.add_version(Version(transaction.add_tree(tree), None, "test:", 1))
    transaction.set_ref(version_key("lying", digest), digest)


def _packs_by_hand(plan: Plan) -> Outcome:
    """A pack that the journal does not know, with frames of the store's own chunks that hold other bytes."""
    root = plan.work / "packs"
    root.mkdir()
    content = noise(3, 50_000)
    failures = []
    with Engine.open(root / "store", create=True) as engine:
        put(engine, "sound", {"a": content})
        ledger = engine.engine.ledger
        with frames_in_packs(ledger.database, ledger.rows.pack_ids()) as rows:
            digests = [row.digest for row in rows if row.kind is FrameKind.CHUNK]
        pack = PackWriter(engine.layout.packs, engine.engine.ledger.sequence)
        for digest in digests:
            other = noise(4, 50_000)
            pack.append(Frame.of(FrameHeader(FrameKind.CHUNK, digest, Codec.RAW, len(other), len(other)), other))
        pack.seal()
    for work in ("verify", "repair", "gc"):
        with open_store(root) as store:
            getattr(store, work)()
            store.checkout("sound", root / work)
            if (root / work / "a").read_bytes() != content:
                failures.append(f"after {work} another pack's bytes came out")
            if not store.verify(data=True).ok:
                failures.append(f"after {work} a pack put in by hand counts")
    return Outcome("packs put in by hand, whose digests lie", 3, tuple(failures))
