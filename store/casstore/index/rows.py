"""The rows of packs, frames and blobs: where everything is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice

from casstore.digests import BLAKE3, GIT_BLOB, SHA256, Digest
from casstore.frames import FrameHeader, FrameKind, parse_chunk_hint, parse_recipe_hint
from casstore.index.database import Database
from casstore.packs import SealedPack

_UPSERT_FRAME = """
INSERT INTO frames (kind, digest, pack, offset, length, raw_length, codec, state, base, key, sketch)
VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)
ON CONFLICT (kind, digest) DO UPDATE SET pack = excluded.pack, offset = excluded.offset, length = excluded.length,
    raw_length = excluded.raw_length, codec = excluded.codec, state = 0, base = excluded.base, key = excluded.key,
    sketch = excluded.sketch
WHERE frames.state != 0 OR (frames.base IS NOT NULL AND excluded.base IS NULL)
"""
_MOVE_FRAME = """
UPDATE frames SET pack = ?, offset = ?, length = ?, codec = ?, base = ?, key = ?, sketch = ?
WHERE kind = ? AND digest = ? AND pack = (SELECT number FROM packs WHERE id = ?) AND offset = ? AND (? IS NULL
    OR base IS NOT NULL OR NOT EXISTS (SELECT 1 FROM frames AS delta WHERE delta.base = frames.digest))
"""
_UPSERT_BLOB = """
INSERT INTO blobs (sha256, recipe, size_bytes, git) VALUES (?, ?, ?, ?)
ON CONFLICT (sha256) DO UPDATE SET recipe = excluded.recipe, git = coalesce(excluded.git, blobs.git)
WHERE (excluded.git IS NOT NULL AND blobs.git IS NULL)
    OR NOT EXISTS (SELECT 1 FROM frames WHERE kind = 2 AND digest = blobs.recipe AND state = 0)
"""


class State(IntEnum):
    """What a frame's row is good for.

    DAMAGED rows are invisible, and storing the content again heals them. An INCOMPLETE recipe can be read, but some
    chunk of it is damaged or gone, so its blob does not count as had.
    """

    LIVE = 0
    DAMAGED = 1
    INCOMPLETE = 2


_BATCH = 4096

CONDEMNED = 4
"""Added to the state of a row that gc will drop: it is invisible, and one that is let go is what it was before."""

# What is condemned can still be read, by those who came before the condemn; but no look-up shows it.
_READABLE = "state IN (0, 2, 4, 6)"
_SHOWN = "state IN (0, 2)"
_IS_CONDEMNED = "state != 0 AND state >= 4"  # the first half lets SQLite see that the index frames_not_live will do


@dataclass(frozen=True, slots=True)
class FrameRow:
    """Where a frame lies: the pack's id, byte offset and frame length; and its content's length before encoding."""

    kind: FrameKind
    digest: bytes
    pack: bytes
    offset: int
    length: int
    raw_length: int
    codec: int
    base: bytes | None = None


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A blob that the store has."""

    sha256: Digest
    size_bytes: int
    recipe: Digest
    git: Digest | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that another may be like: its digest, length in bytes and as it is stored, sketch, and whether it is
    stored whole."""

    digest: bytes
    raw_length: int
    stored_length: int
    sketch: bytes
    is_whole: bool


class Rows:
    """Look-ups and changes of the rows of packs, frames and blobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def database(self) -> Database:
        """Where the rows are."""
        return self._database

    def frame(self, kind: FrameKind, digest: bytes) -> FrameRow | None:
        """Where a frame is that can be read; None when there is none, or it is damaged."""
        found = self._database.execute(
            "SELECT packs.id, offset, length, raw_length, codec, base FROM frames JOIN packs "
            f"ON packs.number = frames.pack WHERE kind = ? AND digest = ? AND {_READABLE}",
            (kind, digest),
        )
        return FrameRow(kind, digest, *found[0]) if found else None

    def is_live(self, kind: FrameKind, digest: bytes) -> bool:
        """Whether content of that digest need not be stored again."""
        found = self._database.execute(
            "SELECT 1 FROM frames WHERE kind = ? AND digest = ? AND state = 0", (kind, digest)
        )
        return bool(found)

    def has(self, kind: FrameKind, digest: bytes) -> bool:
        """Whether there is a row of a frame that can be read, wherever it may lie."""
        found = self._database.execute(
            f"SELECT 1 FROM frames WHERE kind = ? AND digest = ? AND {_READABLE}", (kind, digest)
        )
        return bool(found)

    def is_damaged(self, kind: FrameKind, digest: bytes) -> bool:
        """Whether the content of that digest is known to be damaged or lost."""
        found = self._database.execute(
            "SELECT 1 FROM frames WHERE kind = ? AND digest = ? AND state IN (1, 5)", (kind, digest)
        )
        return bool(found)

    def similar(self, key: bytes, limit: int) -> list[Candidate]:
        """The live chunks of that similarity key, those stored whole first, and the newest packs' first."""
        found = self._database.execute(
            "SELECT digest, raw_length, length, sketch, base IS NULL FROM frames WHERE key = ? AND state = 0 "
            "ORDER BY base IS NOT NULL, pack DESC LIMIT ?",
            (key, limit),
        )
        return [
            Candidate(digest, raw_length, length, sketch, bool(is_whole))
            for digest, raw_length, length, sketch, is_whole in found
        ]

    def occupied(self) -> list[tuple[bytes, int, int, int, int]]:
        """Of each pack: its id, size in bytes, the bytes of the frames that live in it, their number, and how many of
        them cannot be read."""
        return self._database.execute(
            "SELECT id, size_bytes, coalesce(length, 0), coalesce(count, 0), coalesce(unreadable, 0) FROM packs "
            f"LEFT JOIN (SELECT pack, sum(length) AS length, count(*) AS count, sum(NOT {_SHOWN}) AS unreadable "
            "FROM frames GROUP BY pack) ON pack = number ORDER BY number"
        )

    def move(self, pack: SealedPack, places: Mapping[tuple[FrameKind, bytes], tuple[bytes, int]]) -> None:
        """Enter a durable pack whose frames take the place of others, of those that still lie where ``places`` says.

        ``places`` has pack and offset. A whole chunk that others are stored against by now stays whole.
        """
        number = self.enter(pack)
        self._database.execute_many(
            _MOVE_FRAME,
            (
                (
                    number,
                    placed.offset,
                    placed.header.frame_length,
                    placed.header.codec,
                    placed.header.base or None,
                    *_similarity(placed.header),
                    placed.header.kind,
                    placed.header.digest,
                    *places[placed.header.kind, placed.header.digest],
                    placed.header.base or None,
                )
                for placed in pack.frames
            ),
        )

    def blob(self, digest: Digest) -> BlobInfo | None:
        """A blob by its SHA-256 or git id, if all of it is here."""
        column = {SHA256: "sha256", GIT_BLOB: "git"}[digest.algorithm]
        found = self._database.execute(
            "SELECT sha256, blobs.size_bytes, recipe, git FROM blobs JOIN frames ON kind = 2 AND digest = recipe "
            f"WHERE {column} = ? AND state = 0",
            (digest.value,),
        )
        return _blob(found[0]) if found else None

    def recipe_of(self, sha256: Digest) -> Digest | None:
        """The recipe of a blob that may be read, though some of its chunks may be damaged."""
        found = self._database.execute(
            f"SELECT recipe FROM blobs JOIN frames ON kind = 2 AND digest = recipe WHERE sha256 = ? AND {_READABLE}",
            (sha256.value,),
        )
        return Digest(BLAKE3, found[0][0]) if found else None

    def with_prefix(self, kind: FrameKind, low: bytes, high: bytes) -> list[bytes]:
        """The digests of frames of a kind from ``low`` up to and including ``high`` that can be read and stay."""
        found = self._database.execute(
            f"SELECT digest FROM frames WHERE kind = ? AND digest BETWEEN ? AND ? AND {_SHOWN}", (kind, low, high)
        )
        return [row[0] for row in found]

    def readable(self, kind: FrameKind) -> list[bytes]:
        """The digests of all frames of a kind that can be read."""
        return [
            row[0]
            for row in self._database.execute(f"SELECT digest FROM frames WHERE kind = ? AND {_READABLE}", (kind,))
        ]

    def in_state(self, kind: FrameKind, state: State) -> list[bytes]:
        """The digests of all frames of a kind that are in a state, condemned or not."""
        return [
            row[0]
            for row in self._database.execute(
                "SELECT digest FROM frames WHERE kind = ? AND state IN (?, ?)", (kind, state, state + CONDEMNED)
            )
        ]

    def damaged_chunks(self) -> list[FrameRow]:
        """Where the chunks lie, or lay, that are marked as damaged."""
        rows = self._database.execute(
            "SELECT digest, packs.id, offset, length, raw_length, codec, base FROM frames JOIN packs "
            "ON packs.number = frames.pack WHERE kind = 1 AND state IN (1, 5)"
        )
        return [FrameRow(FrameKind.CHUNK, *row) for row in rows]

    def pack_ids(self) -> set[bytes]:
        """The packs that count."""
        return {row[0] for row in self._database.execute("SELECT id FROM packs")}

    def pack_ids_in_order(self) -> list[bytes]:
        """The packs that count, in the order in which they were entered."""
        return [row[0] for row in self._database.execute("SELECT id FROM packs ORDER BY number")]

    def add_pack(self, pack: SealedPack) -> None:
        """Enter a durable pack. A frame that is live elsewhere stays there, unless it is a delta and the new one is
        whole; one that is not, lives here now."""
        self._database.execute_many(_UPSERT_FRAME, frame_values(pack, self.enter(pack)))
        self.map_recipes(blob_values(pack))

    def map_recipes(self, blobs: Iterable[tuple[object, ...]]) -> None:
        """Let blobs be made by the recipes that these `blob_values` name, where none is known that will do."""
        self._database.execute_many(_UPSERT_BLOB, blobs)

    def enter(self, pack: SealedPack) -> int:
        """Enter a pack without its frames; gives the number that stands for it in their rows."""
        self._database.execute("INSERT INTO packs (id, size_bytes) VALUES (?, ?)", (pack.id, pack.size_bytes))
        ((number,),) = self._database.execute("SELECT number FROM packs WHERE id = ?", (pack.id,))
        return int(number)

    def remove_packs(self, pack_ids: Collection[bytes]) -> int:
        """Drop the rows of packs and of the frames in them; gives how many frames that were."""
        if not pack_ids:
            return 0
        self._database.execute_many("DELETE FROM packs WHERE id = ?", ((pack_id,) for pack_id in pack_ids))
        # Once for all of them: no index leads from a pack to its frames. Pack 0 stands for none, see `mark_lost`.
        self._database.execute("DELETE FROM frames WHERE pack != 0 AND pack NOT IN (SELECT number FROM packs)")
        ((frames,),) = self._database.execute("SELECT changes()")
        return int(frames)

    def acquit_all(self) -> None:
        """Let everything go that is condemned."""
        self._database.execute(f"UPDATE frames SET state = state - {CONDEMNED} WHERE {_IS_CONDEMNED}")

    def acquit(self, names: Iterable[tuple[FrameKind, bytes]]) -> None:
        """Let these go if they are condemned."""
        statement = f"UPDATE frames SET state = state - {CONDEMNED} WHERE kind = ? AND digest = ? AND {_IS_CONDEMNED}"
        iterator = iter(names)
        while batch := list(islice(iterator, _BATCH)):
            self._database.execute_many(statement, batch)

    def any_condemned(self) -> bool:
        """Whether a gc has condemned frames that it has not dropped yet."""
        return bool(self._database.execute(f"SELECT 1 FROM frames WHERE {_IS_CONDEMNED} LIMIT 1"))

    def drop_condemned(self) -> int:
        """Drop the rows that are condemned, and blobs whose recipe is gone; gives how many chunks that were."""
        ((chunks,),) = self._database.execute(f"SELECT count(*) FROM frames WHERE {_IS_CONDEMNED} AND kind = 1")
        self._database.execute(f"DELETE FROM frames WHERE {_IS_CONDEMNED}")
        self._database.execute(
            "DELETE FROM blobs WHERE NOT EXISTS (SELECT 1 FROM frames WHERE kind = 2 AND digest = blobs.recipe)"
        )
        return int(chunks)

    def empty_packs(self) -> list[tuple[bytes, int]]:
        """The packs (id, size in bytes) that no frame's row points into."""
        return self._database.execute(
            "SELECT id, size_bytes FROM packs WHERE number NOT IN (SELECT DISTINCT pack FROM frames)"
        )

    def set_state(self, kind: FrameKind, digests: Iterable[bytes], state: State) -> None:
        """Mark frames; what is condemned stays so. Deltas against a damaged chunk are damaged with it."""
        marked = list(digests)
        self._database.execute_many(
            f"UPDATE frames SET state = ? + (state & {CONDEMNED}) WHERE kind = ? AND digest = ?",
            ((state, kind, digest) for digest in marked),
        )
        if kind is FrameKind.CHUNK and state is State.DAMAGED and marked:
            self.mark_baseless()

    def mark_baseless(self) -> None:
        """Mark deltas whose base cannot be read as damaged, so that storing their content again heals them.

        And what is stored against those: a cast may be of a delta.
        """
        changed = 1
        while changed:
            self._database.execute(
                f"UPDATE frames SET state = {State.DAMAGED} + (state & {CONDEMNED}) "
                f"WHERE base IS NOT NULL AND {_READABLE} AND NOT EXISTS (SELECT 1 FROM frames AS base "
                f"WHERE base.kind = frames.kind AND base.digest = frames.base AND base.{_READABLE})"
            )
            ((changed,),) = self._database.execute("SELECT changes()")

    def mark_lost(self, names: Iterable[tuple[FrameKind, bytes]]) -> None:
        """Note frames that no pack has any more as damaged."""
        self._database.execute_many(
            "INSERT OR IGNORE INTO frames (kind, digest, pack, offset, length, raw_length, codec, state) "
            f"VALUES (?, ?, 0, 0, 0, 0, 0, {State.DAMAGED})",
            names,
        )

    def map_blobs(self, blobs: Iterable[BlobInfo]) -> None:
        """Let blobs be made by these recipes where the recipe known so far is not whole."""
        rows = ((blob.sha256.value, blob.recipe.value, blob.size_bytes, blob.git and blob.git.value) for blob in blobs)
        self._database.execute_many(_UPSERT_BLOB, rows)

    def packs_to_verify(self, before_ns: int) -> list[tuple[bytes, int]]:
        """The packs (id, size in bytes) that no full check has read since that time."""
        return self._database.execute(
            "SELECT id, size_bytes FROM packs WHERE verified_ns < ? ORDER BY number", (before_ns,)
        )

    def set_verified(self, pack_id: bytes, when_ns: int) -> None:
        """Remember that every byte of a pack was read and found right."""
        self._database.execute("UPDATE packs SET verified_ns = ? WHERE id = ?", (when_ns, pack_id))

    def was_verified(self, pack_id: bytes) -> bool:
        """Whether a full check has ever found a pack right."""
        return bool(self._database.execute("SELECT 1 FROM packs WHERE id = ? AND verified_ns > 0", (pack_id,)))

    def totals(self) -> tuple[int, int, int]:
        """Of the live chunks: how many, bytes before encoding, bytes of their frames."""
        ((count, raw, stored),) = self._database.execute(
            "SELECT count(*), coalesce(sum(raw_length), 0), coalesce(sum(length), 0) FROM frames "
            "WHERE kind = 1 AND state = 0"
        )
        return count, raw, stored

    def by_codec(self) -> list[tuple[int, int, int, int]]:
        """Of the live chunks, for each codec: its number, chunks, bytes before encoding, bytes of their frames."""
        return self._database.execute(
            "SELECT codec, count(*), sum(raw_length), sum(length) FROM frames WHERE kind = 1 AND state = 0 "
            "GROUP BY codec"
        )

    def packs_bytes(self) -> int:
        """The size of all packs that count."""
        ((size_bytes,),) = self._database.execute("SELECT coalesce(sum(size_bytes), 0) FROM packs")
        return int(size_bytes)

    def new_blobs_bytes(self) -> int:
        """The size of all blobs whose recipes lie in packs that no full check has found right."""
        # total, since sum fails where recipes that lie add up to more than an integer holds.
        ((size_bytes,),) = self._database.execute(
            "SELECT total(blobs.size_bytes) FROM blobs JOIN frames ON kind = ? AND digest = recipe "
            "JOIN packs ON number = pack WHERE verified_ns = 0",
            (FrameKind.RECIPE,),
        )
        return int(size_bytes)


def _similarity(header: FrameHeader) -> tuple[bytes | None, bytes | None]:
    """The key and sketch of a chunk that others may be like."""
    if header.kind is not FrameKind.CHUNK:
        return None, None
    _, key, sketch = parse_chunk_hint(header.hint)
    return (key, sketch) if sketch else (None, None)


def frame_values(pack: SealedPack, number: int) -> Iterator[tuple[object, ...]]:
    """What the rows of a pack's frames hold, if the pack has that number."""
    for placed in pack.frames:
        header = placed.header
        yield (
            header.kind,
            header.digest,
            number,
            placed.offset,
            header.frame_length,
            header.raw_length,
            header.codec,
            header.base or None,
            *_similarity(header),
        )


def blob_values(pack: SealedPack) -> Iterator[tuple[object, ...]]:
    """What the rows hold of the blobs that a pack's recipes make."""
    for placed in pack.frames:
        if placed.header.kind is FrameKind.RECIPE:
            sha256, size_bytes, git = parse_recipe_hint(placed.header.hint)
            yield sha256.value, placed.header.digest, size_bytes, git.value if git is not None else None


def _blob(row: Sequence[bytes | int | None]) -> BlobInfo:
    sha256, size_bytes, recipe, git = row
    assert isinstance(sha256, bytes)
    assert isinstance(size_bytes, int)
    assert isinstance(recipe, bytes)
    assert git is None or isinstance(git, bytes)
    return BlobInfo(
        Digest(SHA256, sha256), size_bytes, Digest(BLAKE3, recipe), Digest(GIT_BLOB, git) if git is not None else None
    )
