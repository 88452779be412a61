"""What every operation on one open store shares."""

from __future__ import annotations

import errno
from collections.abc import Sequence
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

    def content(self, kind: FrameKind, digest: bytes, *, check: bool = True, out: memoryview | None = None) -> Buffer:
        """The content of a frame, decoded and checked against its digest.

        Without ``check`` it may be other bytes: that is for callers who check a digest of what they make of it.
        ``out`` is memory that it may be decoded into, if it is as long; what is given back says where it is.
        Raises DamagedError when the index has it and the bytes are missing or wrong, NotFoundError when it has not.
        """
        row = self.ledger.rows.frame(kind, digest)
        if row is None:
            raise NotFoundError(f"{_what(kind, digest)} is not in the store")
        return self.content_at(row, check=check, out=out)

    def foresee(self, kind: FrameKind, digest: bytes) -> None:
        """Say that a frame will soon be wanted, so that the disk works while the coders do."""
        row = self.ledger.rows.frame(kind, digest)
        if row is not None:
            self.packs.foresee(row.pack, row.offset, row.length)

    def content_at(self, row: FrameRow, *, check: bool = True, out: memoryview | None = None) -> Buffer:
        """The same for a row that was looked up before. Raises FailedError when reading fails for another reason."""
        what = _what(row.kind, row.digest)
        try:
            frame = self.packs.read(row.pack, row.offset, row.length)
        except FileNotFoundError as error:
            # A compaction may have moved the frame and unlinked its pack since the look-up.
            again = self.ledger.rows.frame(row.kind, row.digest)
            if again is None or again.pack == row.pack:
                raise DamagedError(what, f"its pack {row.pack.hex()} is missing") from error
            return self.content_at(again, check=check, out=out)
        except OSError as error:
            if error.errno == errno.EIO:
                raise DamagedError(what, f"its pack {row.pack.hex()} cannot be read: {error.strerror}") from error
            raise FailedError(f"the pack {row.pack.hex()} cannot be read: {error.strerror}") from error
        except DamagedError as error:
            raise DamagedError(what, error.reason) from error
        return decoded(frame, row.kind, row.digest, check=check, out=out)


def decoded(
    frame: bytes, kind: FrameKind, digest: bytes, *, check: bool = True, out: memoryview | None = None
) -> Buffer:
    """The content of a frame's bytes, with ``check`` compared with the digest. Raises DamagedError."""
    what = _what(kind, digest)
    try:
        header, payload = parse_frame(frame)
        if header.kind is not kind or header.digest != digest:
            raise DamagedError(what, "another frame lies in its place")
        place = out if out is not None and len(out) == header.raw_length else None
        raw = codecs.decode(header.codec, payload, header.raw_length, place)
    except DamagedError as error:
        raise DamagedError(what, error.reason) from error
    if check and blake3_digest(raw) != Digest(BLAKE3, digest):
        raise DamagedError(what, "its bytes do not match its digest")
    return raw


def _what(kind: FrameKind, digest: bytes) -> str:
    return f"{kind.name.lower()} {digest.hex()}"
