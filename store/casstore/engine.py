"""What every operation on one open store shares."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from casstore import codecs, files
from casstore.buffers import Buffer
from casstore.digests import BLAKE3, Digest, blake3_digest
from casstore.errors import DamagedError, NotFoundError, UnreadableError
from casstore.frames import FrameHeader, FrameKind, parse_frame
from casstore.index.rows import FrameRow
from casstore.layout import Layout
from casstore.ledger import Ledger
from casstore.packs import PackReader, PackWriter, pack_path
from casstore.workers import Workers

if TYPE_CHECKING:
    from casstore.chunkers.spans import RandomAccess, Span, SpanFinder

PACK_BYTES = 64 << 20
"""When a pack is that large it is sealed and the next begun."""


_DEEPEST_DELTA = 4
"""Deltas are made against chunks that are stored whole; when two processes store at once, one may become deeper."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a store works; none of it changes what comes out. Sizes in bytes.

    Without ``deltas`` every chunk is stored whole: quicker, and with copies of models about twice as large.
    """

    pack_bytes: int = PACK_BYTES
    in_flight_bytes: int = 48 << 20
    read_ahead_bytes: int = 24 << 20
    deltas: bool = True


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

    def begin_pack(self) -> PackWriter:
        """A new pack. Raises FullError where not even the reserve finds room, whose own room packs must not take."""
        self.ledger.reserve.fill()
        return PackWriter(self.layout.packs, self.ledger.sequence)

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
        """Say that a frame will soon be wanted, so that the disk works while the coders do. Its bases are with it."""
        row = self.ledger.rows.frame(kind, digest)
        for _ in range(_DEEPEST_DELTA + 1):
            if row is None:
                return
            self.packs.foresee(row.pack, row.offset, row.length)
            row = self.ledger.rows.frame(FrameKind.CHUNK, row.base) if row.base else None

    def content_at(
        self, row: FrameRow, *, check: bool = True, out: memoryview | None = None, dependants: int = 0
    ) -> Buffer:
        """The same for a row that was looked up before. Raises FailedError when reading fails for another reason.

        ``dependants`` is how many deltas wait for it, each for the next.
        """
        return self.content_of(self.frame_at(row), row, check=check, out=out, dependants=dependants)

    def content_of(
        self, frame: bytes, row: FrameRow, *, check: bool = True, out: memoryview | None = None, dependants: int = 0
    ) -> Buffer:
        """The same for a frame that was read before."""
        return decoded(frame, row.kind, row.digest, _Bases(self, dependants + 1), check=check, out=out)

    def frame_at(self, row: FrameRow) -> bytes:
        """The bytes of a frame, unchecked. Raises DamagedError when they are missing, and FailedError."""
        what = _what(row.kind, row.digest)
        try:
            return self.packs.read(row.pack, row.offset, row.length)
        except FileNotFoundError as error:
            # A compaction may have moved the frame and unlinked its pack since the look-up.
            again = self.ledger.rows.frame(row.kind, row.digest)
            if again is None or again.pack == row.pack:
                raise DamagedError(what, f"its pack {row.pack.hex()} is missing") from error
            return self.frame_at(again)
        except OSError as error:
            if error.errno == errno.EIO:
                raise UnreadableError(what, f"its pack {row.pack.hex()} cannot be read: {error.strerror}") from error
            path = pack_path(self.layout.packs, row.pack)
            raise files.unreadable(error, path, f"the pack {row.pack.hex()}") from error
        except DamagedError as error:
            raise DamagedError(what, error.reason) from error


class BaseReader(Protocol):
    """Gives the content of a delta's base. Raises DamagedError."""

    def __call__(self, digest: bytes, *, check: bool) -> Buffer: ...


@dataclass(frozen=True, slots=True)
class _Bases:
    engine: Engine
    dependants: int

    def __call__(self, digest: bytes, *, check: bool) -> Buffer:
        what = f"its base, {_what(FrameKind.CHUNK, digest)}"
        row = self.engine.ledger.rows.frame(FrameKind.CHUNK, digest)
        if row is None or self.dependants > _DEEPEST_DELTA:
            raise DamagedError(what, f"{what}, is missing from the store")
        try:
            return self.engine.content_at(row, check=check, dependants=self.dependants)
        except DamagedError as error:
            raise DamagedError(what, f"{what}, is damaged: {error.reason}") from error


def decoded(
    frame: bytes,
    kind: FrameKind,
    digest: bytes,
    base: BaseReader | None = None,
    *,
    check: bool = True,
    out: memoryview | None = None,
) -> Buffer:
    """The content of a frame's bytes, with ``check`` compared with the digest. Raises DamagedError.

    ``base`` reads the base of a delta; without it a delta counts as damaged.
    """
    what = _what(kind, digest)
    try:
        header, payload = parse_frame(frame)
        if header.kind is not kind or header.digest != digest:
            raise DamagedError(what, "another frame lies in its place")
        if header.base and base is not None:
            return _decoded_against(header, payload, base, check=check)
        place = out if out is not None and len(out) == header.raw_length else None
        raw = codecs.decode(header.codec, payload, header.raw_length, place)
    except DamagedError as error:
        raise DamagedError(what, error.reason) from error
    if check and blake3_digest(raw) != Digest(BLAKE3, digest):
        raise DamagedError(what, _MISMATCH)
    return raw


def _decoded_against(header: FrameHeader, payload: Buffer, base: BaseReader, *, check: bool) -> Buffer:
    """A delta's content. Its digest tells whether the base was right; the base's is compared to say who is wrong."""
    try:
        raw = codecs.decode_against(
            header.codec, payload, header.raw_length, base(header.base, check=False), header.cast
        )
        if check and blake3_digest(raw) != Digest(BLAKE3, header.digest):
            raise DamagedError("a delta", _MISMATCH)
    except DamagedError:
        base(header.base, check=True)
        raise
    return raw


_MISMATCH = "its bytes do not match its digest"


def _what(kind: FrameKind, digest: bytes) -> str:
    return f"{kind.name.lower()} {digest.hex()}"
