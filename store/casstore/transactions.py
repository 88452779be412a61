"""Transactions: putting blobs, trees and versions in. Nothing counts before `commit`, everything counts after it.

Packs that fill up on the way are made durable and entered at once, so that memory does not grow with what is put in;
what lies in them is unreachable, and gc's prey, until a ref is committed that needs it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Set
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from casstore import codecs, files
from casstore.catalog import Reader
from casstore.closure import closure, root_of, with_bases
from casstore.digests import BLAKE3, GIT_BLOB, Digest
from casstore.engine import Engine
from casstore.errors import (
    ChangedWhileReadError,
    DigestMismatchError,
    FailedError,
    InvalidInputError,
    NotFoundError,
    StoreError,
)
from casstore.frames import Frame, FrameHeader, FrameKind, recipe_hint
from casstore.index.lengths import chunk_lengths
from casstore.index.rows import BlobInfo
from casstore.ledger import Change
from casstore.lineage import Lineage
from casstore.packs import PackWriter, SealedPack, pack_path
from casstore.pending import Pending
from casstore.recipes import Part, Recipe
from casstore.refs import Ref, RefKey, RefKind
from casstore.sources import BytesSource, FileSource, open_source
from casstore.trees import Tree
from casstore.versions import Version

if TYPE_CHECKING:
    from casstore.pipeline import BlobHashers, CodedChunk, Known

Progress = Callable[[int], object]
"""Called with how many more raw bytes were taken in."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob that was put in; ``added_bytes`` is what it added to the packs, 0 when all of it was there."""

    info: BlobInfo
    added_bytes: int


class Transaction(Reader):
    """One operation that writes, under the lease of that name. Not for several threads at once."""

    def __init__(self, engine: Engine, lease: str) -> None:
        super().__init__(engine)
        self.lease = lease
        self._kept: list[RefKey] = []
        self._pack: PackWriter | None = None
        self._pending = Pending()
        self._lineage = Lineage(engine)
        self._sealing: list[Future[SealedPack]] = []
        self._sealed: list[SealedPack] = []
        self._blobs: dict[Digest, BlobInfo] = {}
        self._trees: set[Digest] = set()
        self._process = os.getpid()
        self._failed = False
        self._refs: dict[RefKey, Digest | None] = {}
        self._conditions: list[Callable[[], object]] = []
        self.added_bytes = 0

    def find_blob(self, digest: Digest) -> BlobInfo | None:
        """A blob by its SHA-256 or git id, if all of it is in the store or in this transaction.

        One that was found once stays found: a gc that condemns it afterwards waits for this transaction.
        """
        found = self._blobs.get(digest) or super().find_blob(digest)
        if found is not None:
            self._blobs[digest] = found
        return found

    def add_file(
        self, path: Path, name: str | None = None, expect: Digest | None = None, progress: Progress | None = None
    ) -> StoredBlob:
        """Put a regular file in.

        ``name`` tells the span finder what the file is called; ``expect`` is a SHA-256 or git id that its bytes must
        have. Raises NotFoundError, InvalidInputError, ChangedWhileReadError, DigestMismatchError.
        """
        with open_source(path) as source:
            return self._add(source, name or path.name, str(path), expect, progress)

    def add_bytes(self, data: bytes, name: str, expect: Digest | None = None) -> StoredBlob:
        """Put a file in whose bytes are in memory."""
        return self._add(BytesSource(data), name, name, expect, None)

    def add_lost_chunks(
        self, path: Path, name: str, lost: Set[bytes], progress: Progress | None = None
    ) -> tuple[Digest, Set[bytes]]:
        """Of a regular file, put in no more than the chunks among ``lost``.

        Gives the file's SHA-256, and which of them it has. Raises as `add_file`.
        """
        with open_source(path) as source:
            from casstore.pipeline import BlobHashers

            hashers = BlobHashers(source.size_bytes, git=False)
            parts = self._add_chunks(
                source,
                name,
                str(path),
                hashers,
                lambda digest: digest not in lost or self._knows_chunk(digest),
                progress,
            )
            source.check_unchanged()
        return hashers.sha256, lost & {part.chunk for part in parts}

    def add_recipe(self, recipe: Recipe) -> BlobInfo:
        """Put in a recipe that tells the truth, all of whose chunks are in the store or in this transaction."""
        self._add_record(FrameKind.RECIPE, recipe.encoded, recipe.digest, recipe_hint(recipe))
        info = BlobInfo(recipe.sha256, recipe.size_bytes, recipe.digest, recipe.git)
        self._blobs[info.sha256] = info
        if info.git is not None:
            self._blobs[info.git] = info
        return info

    def came_from(self, version: Digest) -> None:
        """Say that what is put in from now on was made from a version, if it is known; only space depends on it."""
        self._lineage.add(version)

    def add_tree(self, tree: Tree) -> Digest:
        """Put a tree in. Raises InvalidInputError when it needs a blob that the store has not."""
        for entry in tree.files:
            assert entry.blob is not None
            if self.find_blob(entry.blob) is None:
                raise InvalidInputError(f"the tree needs {entry.blob} for {entry.path!r}, which is not in the store")
        self._add_record(FrameKind.TREE, tree.encoded, tree.digest)
        self._trees.add(tree.digest)
        return tree.digest

    def add_version(self, version: Version) -> Digest:
        """Put a version in. Raises NotFoundError or InvalidInputError when its tree, or a blob of it, is not there."""
        if version.tree not in self._trees:
            self.add_tree(self.tree(version.tree))
        self._add_record(FrameKind.VERSION, version.encoded, version.id)
        return version.id

    def set_ref(self, key: RefKey, target: Digest | None) -> None:
        """Move a ref when the transaction is committed; None removes it."""
        self._refs[key] = target

    def require(self, condition: Callable[[], object]) -> None:
        """Have the next `commit` call this when nobody else can move refs any more.

        What it raises ends the commit; it may `set_ref` by what it sees.
        """
        self._conditions.append(condition)

    def keep(self, blob: BlobInfo) -> None:
        """Protect a blob from gc, from the next `commit` on, until `let_go` or until nobody holds this lease."""
        key = RefKey(RefKind.PARTIAL, self.lease, blob.recipe.hex)
        self._kept.append(key)
        self.set_ref(key, blob.recipe)

    def let_go(self) -> None:
        """With the next `commit`, end the protection of what was kept: a version needs it now."""
        for key in self._kept:
            self.set_ref(key, None)
        self._kept.clear()

    def commit(self) -> None:
        """Make everything so far durable and let it count. May be called again after more was put in.

        Raises NotFoundError when a ref is to name what is not there, FullError and others when writing fails; what was
        not committed is lost then, and so is this transaction.
        """
        with self._failing_for_good():
            self._seal()
            self._take_sealed(all_of_them=True)
            if not self._sealed and not self._refs:
                return
            with self._engine.ledger.change() as change:
                self._enter(change)
                for condition in self._conditions:
                    condition()
                for key, target in self._refs.items():
                    self._set_ref(change, key, target)
            self._pending.entered(self._sealed)
            self._sealed.clear()
            self._refs.clear()
            self._conditions.clear()

    def abandon(self) -> None:
        """Drop what was not committed. Never raises: what it cannot unlink is gc's."""
        if os.getpid() != self._process:
            return
        self._pending.close()
        if self._pack is not None:
            self._pack.abandon()
            self._pack = None
        with contextlib.suppress(StoreError, OSError):
            self._unlink_sealed()

    def withdraw(self) -> None:
        """Drop what was not committed, and end at once the protection of what was kept; nothing may follow.

        What was committed stays in the packs until gc, unless somebody needs it again.
        """
        self.abandon()
        kept = [key for key in self._kept if self.ref(key) is not None]
        if kept:
            with self._engine.ledger.change() as change:
                for key in kept:
                    change.set_ref(key, None)
        self._kept.clear()

    def _add(
        self, source: FileSource | BytesSource, name: str, label: str, expect: Digest | None, progress: Progress | None
    ) -> StoredBlob:
        from casstore.pipeline import BlobHashers

        before = self.added_bytes
        hashers = BlobHashers(source.size_bytes, git=expect is not None and expect.algorithm == GIT_BLOB)
        parts = self._add_chunks(source, name, label, hashers, self._knows_chunk, progress)
        source.check_unchanged()
        recipe = Recipe(hashers.sha256, source.size_bytes, tuple(parts), hashers.git)
        if expect is not None:
            actual = recipe.git if expect.algorithm == GIT_BLOB else recipe.sha256
            if actual != expect:
                raise DigestMismatchError(label, str(expect), str(actual))
        return StoredBlob(self.add_recipe(recipe), self.added_bytes - before)

    def _add_chunks(
        self,
        source: FileSource | BytesSource,
        name: str,
        label: str,
        hashers: BlobHashers,
        known: Known,
        progress: Progress | None,
    ) -> list[Part]:
        """Cut a source and put in the chunks that are not ``known``; gives its parts."""
        # Here, as a checkpoint of what has not changed, a tag or a removal puts no file in.
        from casstore.bases import Bases, no_bases
        from casstore.chunkers import ShortReadError
        from casstore.pipeline import coded_chunks

        engine = self._engine
        parts = []
        coded = coded_chunks(
            source,
            lambda: engine.finder(name, source),
            hashers,
            known,
            Bases(engine, self._pending, self._lineage) if engine.settings.deltas else no_bases,
            engine.workers,
            engine.settings.in_flight_bytes,
        )
        try:
            with contextlib.closing(coded) as chunks:
                for chunk in chunks:
                    self._add_chunk(chunk)
                    parts.append(Part(chunk.digest, 0, chunk.piece.length))
                    if progress is not None:
                        progress(chunk.piece.length)
        except ShortReadError as error:
            raise ChangedWhileReadError(label) from error
        return parts

    def _knows_chunk(self, digest: bytes) -> bool:
        return (FrameKind.CHUNK, digest) in self._pending or self._engine.ledger.rows.is_live(FrameKind.CHUNK, digest)

    def _add_chunk(self, chunk: CodedChunk) -> None:
        # Equal chunks that were in flight together are all encoded; only the first is kept.
        if chunk.frame is not None and (FrameKind.CHUNK, chunk.digest) not in self._pending:
            self._append(chunk.frame)

    def _add_record(self, kind: FrameKind, encoded: bytes, digest: Digest, hint: bytes = b"") -> None:
        if (kind, digest.value) in self._pending or self._engine.ledger.rows.is_live(kind, digest.value):
            return
        codec, payload = codecs.encode(encoded, 0)
        header = FrameHeader(kind, digest.value, codec, len(encoded), len(payload), hint=hint)
        self._append(Frame.of(header, payload))

    def _append(self, frame: Frame) -> None:
        with self._failing_for_good():
            if self._pack is None:
                self._enter_sealed()
                self._pack = self._engine.begin_pack()
                self._pending.begin(self._pack)
            self._pending.add(self._pack, self._pack.append(frame))
            self.added_bytes += frame.header.frame_length
            if self._pack.size_bytes >= self._engine.settings.pack_bytes:
                self._seal()

    def _seal(self) -> None:
        """Begin to make the pack durable, on a thread of its own at normal priority."""
        if self._pack is not None:
            self._sealing.append(self._engine.sealer.submit(self._pack.seal))
            self._pack = None

    def _take_sealed(self, *, all_of_them: bool) -> None:
        """Collect packs that became durable; wait for all, or for all but one that need not be ready yet."""
        while self._sealing and (all_of_them or self._sealing[0].done() or len(self._sealing) > 1):
            self._sealed.append(self._sealing[0].result())
            del self._sealing[0]

    def _enter_sealed(self) -> None:
        """Enter the packs that became durable meanwhile, so that what is pending stays small."""
        self._take_sealed(all_of_them=False)
        if self._sealed:
            with self._engine.ledger.change() as change:
                self._enter(change)
            self._pending.entered(self._sealed)
            self._sealed.clear()

    def _enter(self, change: Change) -> None:
        """Let packs count, and with them what their records need.

        A gc may have condemned chunks after this transaction had looked them up. It waits for this transaction's lease
        before it drops anything; but the recipe is there for all to find from now on, so its chunks must be too. So is
        a delta, whose recipe may never come, and its base.
        """
        for pack in self._sealed:
            change.add_pack(pack)
        self._check_bases()
        rows = self._engine.ledger.rows
        if rows.any_condemned():
            rows.acquit(with_bases(self._engine, self._new_bases()))
            for pack in self._sealed:
                for placed in pack.frames:
                    if placed.header.kind in (FrameKind.RECIPE, FrameKind.VERSION):
                        self._acquit(placed.header.kind, Digest(BLAKE3, placed.header.digest))

    def _check_bases(self) -> None:
        """No delta may count whose base is gone, as when a repair has found it damaged meanwhile."""
        bases = self._new_bases()
        found = {digest for digest, _, _ in chunk_lengths(self._engine.ledger.database, bases)}
        if bases - found:
            raise FailedError("a chunk that others were stored against is gone", remedy="run the same command again")

    def _new_bases(self) -> set[bytes]:
        """What the deltas that are about to count are stored against."""
        headers = (placed.header for pack in self._sealed for placed in pack.frames)
        return {header.base for header in headers if header.base}

    def _set_ref(self, change: Change, key: RefKey, target: Digest | None) -> None:
        """Move a ref, and let live what a gc has condemned of what it names."""
        before = self.ref(key)
        if target is not None and (before is None or before.target != target):
            kind, digest = root_of(Ref(key, target, 0))
            rows = self._engine.ledger.rows
            if rows.frame(kind, digest.value) is None:
                raise NotFoundError(f"the {kind.name.lower()} {digest.hex} is not in the store any more")
            if rows.any_condemned():
                self._acquit(kind, digest)
        change.set_ref(key, target)

    def _acquit(self, kind: FrameKind, digest: Digest) -> None:
        self._engine.ledger.rows.acquit(closure(self._engine, kind, digest))

    def _unlink_sealed(self) -> None:
        """Unlink packs that were sealed and do not count."""
        sealed = [pack.id for pack in self._sealed]
        sealed += [sealing.result().id for sealing in self._sealing if sealing.exception() is None]
        self._sealed.clear()
        self._sealing.clear()
        if sealed:
            # A commit that failed may have got as far as the journal.
            lost = self._engine.ledger.never_entered(sealed) if self._failed else sealed
            for pack_id in lost:
                files.unlink(pack_path(self._engine.layout.packs, pack_id))

    @contextlib.contextmanager
    def _failing_for_good(self) -> Iterator[None]:
        """After an error in here nobody knows how much of the pack was written: nothing more may be put in."""
        if self._failed:
            raise FailedError("this operation has failed before", remedy="begin it again")
        try:
            yield
        except BaseException:
            self._failed = True
            raise
