"""What every operation on one open store shares."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casstore import codecs
from casstore.buffers import Buffer
from casstore.digests import BLAKE3, Digest, blake3_digest
from casstore.errors import DamagedError, FailedError, NotFoundError
from casstore.frames import FrameKind, parse_frame
from casstore.index.rows import FrameRow
from casstore.layout import Layout
from casstore.ledger import Ledger
from casstore.packs import PackReader
from casstore.workers import Workers

if TYPE_CHECKING:
    from casstore.chunkers.spans import RandomAccess, Span, SpanFinder

PACK_BYTES = 64 << 20
"""When a pack is that large it is sealed and the next begun."""


_DEEPEST_DELTA = 4
"""Deltas are made against chunks that are stored whole; when two processes store at once, one may become deeper."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a store works; none of it changes what is stored. Sizes in bytes."""

    pack_bytes: int = PACK_BYTES
    in_flight_bytes: int = 48 << 20
    read_ahead_bytes: int = 24 << 20


def no_spans(_name: str, _source: RandomAccess) -> Sequence[Span]:
    """The span finder of a store that knows no formats."""
    return ()


@dataclass(frozen=True, slots=True)
class Engine:
    """One open store's parts."""

    layout: Layout
    ledger: Ledger
    packs: PackReader
    workers: Workers
    sealer: ThreadPoolExecutor
    settings: Settings
    finder: SpanFinder

    def content(self, kind: FrameKind, digest: bytes) -> Buffer:
        """The content of a frame, decoded and checked against its digest.

        Raises DamagedError when the index has it and the bytes are missing or wrong, NotFoundError when it has not.
        """
        row = self.ledger.rows.frame(kind, digest)
        if row is None:
            raise NotFoundError(f"{_what(kind, digest)} is not in the store")
        return self.content_at(row)

    def content_at(self, row: FrameRow, dependants: int = 0) -> Buffer:
        """The same for a row that was looked up before. Raises FailedError when reading fails for another reason.

        ``dependants`` is how many deltas wait for it, each for the next.
        """
        what = _what(row.kind, row.digest)
        try:
            frame = self.packs.read(row.pack, row.offset, row.length)
        except FileNotFoundError as error:
            # A compaction may have moved the frame and unlinked its pack since the look-up.
            again = self.ledger.rows.frame(row.kind, row.digest)
            if again is None or again.pack == row.pack:
                raise DamagedError(what, f"its pack {row.pack.hex()} is missing") from error
            return self.content_at(again, dependants)
        except OSError as error:
            if error.errno == errno.EIO:
                raise DamagedError(what, f"its pack {row.pack.hex()} cannot be read: {error.strerror}") from error
            raise FailedError(f"the pack {row.pack.hex()} cannot be read: {error.strerror}") from error
        except DamagedError as error:
            raise DamagedError(what, error.reason) from error
        return decoded(frame, row.kind, row.digest, lambda base: self._base(base, dependants + 1))

    def _base(self, digest: bytes, dependants: int) -> Buffer:
        what = f"its base, {_what(FrameKind.CHUNK, digest)}"
        row = self.ledger.rows.frame(FrameKind.CHUNK, digest)
        if row is None or dependants > _DEEPEST_DELTA:
            raise DamagedError(what, f"{what}, is missing from the store")
        try:
            return self.content_at(row, dependants)
        except DamagedError as error:
            raise DamagedError(what, f"{what}, is damaged: {error.reason}") from error


def decoded(
    frame: bytes, kind: FrameKind, digest: bytes, base_content: Callable[[bytes], Buffer] | None = None
) -> Buffer:
    """The content of a frame's bytes, checked against the digest. Raises DamagedError.

    ``base_content`` gives the content of a delta's base; without it a delta counts as damaged.
    """
    what = _what(kind, digest)
    try:
        header, payload = parse_frame(frame)
        if header.kind is not kind or header.digest != digest:
            raise DamagedError(what, "another frame lies in its place")
        if header.base and base_content is not None:
            base = base_content(header.base)
            raw = codecs.decode_against(header.codec, payload, header.raw_length, base, header.cast)
        else:
            raw = codecs.decode(header.codec, payload, header.raw_length)
    except DamagedError as error:
        raise DamagedError(what, error.reason) from error
    if blake3_digest(raw) != Digest(BLAKE3, digest):
        raise DamagedError(what, "its bytes do not match its digest")
    return raw


def _what(kind: FrameKind, digest: bytes) -> str:
    return f"{kind.name.lower()} {digest.hex()}"
