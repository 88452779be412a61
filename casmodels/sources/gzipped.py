"""A single gzip file as a source: unpacked on the way in. RFC 1952; several members in a row are one file."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from casmodels.errors import WrongBytesError
from casstore import files
from casstore.errors import InvalidInputError, StoreError

_BLOCK_BYTES: Final = 1 << 20
_GZIP_MEMBER: Final = 31
"""zlib's window bits for "one gzip member, header and checksum included"."""
_MAGIC: Final = b"\x1f\x8b"
_SUFFIX: Final = ".gz"
_BY_HAND: Final = "if that is right, unpack it yourself and give the file"


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """How much one gzip file may become. The ratio counts once ``grace_bytes`` have come out."""

    size_bytes: int = 1 << 40
    ratio: float = 250.0
    grace_bytes: int = 64 << 20


def is_gzip_name(name: str) -> bool:
    """Whether a source of that name is unpacked."""
    return name.lower().endswith(_SUFFIX) and len(name) > len(_SUFFIX)


def unpacked_name(name: str) -> str:
    """The name without ``.gz``."""
    return name[: -len(_SUFFIX)] if is_gzip_name(name) else name


def unpack(
    source: Path,
    target: Path,
    limits: UnpackLimits | None = None,
    *,
    name: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write what a gzip file holds to ``target``; gives its size in bytes. Streams: memory does not grow.

    ``name`` is what messages call the source; ``progress`` hears of the bytes written and may raise to stop.
    Raises WrongBytesError for what is no gzip, is cut short, damaged, or followed by something else;
    InvalidInputError over a limit; FullError. Nothing is left at ``target`` then.
    """
    called = name or source.name
    written_bytes = 0
    with files.translated(target):
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        with source.open("rb", buffering=0) as packed:
            for block in unpacked_blocks(packed, called, limits):
                written_bytes += len(block)
                files.write_all(descriptor, block, target)
                if progress is not None:
                    progress(len(block))
    except BaseException:
        with contextlib.suppress(OSError, StoreError):
            files.unlink(target)
        raise
    finally:
        os.close(descriptor)
    return written_bytes


def unpacked_blocks(packed: BinaryIO, called: str, limits: UnpackLimits | None = None) -> Iterator[bytes]:
    """What an open gzip file holds, at most 1 MiB at a time. Raises WrongBytesError, InvalidInputError as `unpack`."""
    bounds = limits or UnpackLimits()
    written_bytes = 0
    for block in _blocks(packed, called):
        written_bytes += len(block)
        _check(bounds, called, written_bytes, packed.tell())
        yield block


def _check(limits: UnpackLimits, called: str, written_bytes: int, read_bytes: int) -> None:
    if written_bytes > limits.size_bytes:
        raise InvalidInputError(f"{called} unpacks to more than {limits.size_bytes} bytes", remedy=_BY_HAND)
    if written_bytes > max(limits.grace_bytes, limits.ratio * read_bytes):
        raise InvalidInputError(f"{called} unpacks to more than {limits.ratio:g} times its size", remedy=_BY_HAND)


def _blocks(packed: BinaryIO, called: str) -> Iterator[bytes]:
    """What comes out, at most 1 MiB at a time however well it is packed."""
    waiting = _read_magic(b"", packed)
    if not waiting.startswith(_MAGIC):
        raise WrongBytesError(
            f"{called} is no gzip file", remedy="take the .gz off its name, or look where it comes from"
        )
    while waiting:
        if not waiting.startswith(_MAGIC):
            raise WrongBytesError(
                f"{called} goes on after its gzip data", remedy="fetch it again, or unpack it yourself"
            )
        member = zlib.decompressobj(_GZIP_MEMBER)
        while not member.eof:
            # The checksum comes after the last byte of data, so input runs out only where the file is cut short.
            waiting = waiting or packed.read(_BLOCK_BYTES)
            if not waiting:
                raise WrongBytesError(f"{called} is cut short", remedy="fetch it again")
            try:
                block = member.decompress(waiting, _BLOCK_BYTES)
            except zlib.error as error:
                raise WrongBytesError(f"{called} is damaged", remedy="fetch it again") from error
            if block:
                yield block
            waiting = member.unconsumed_tail
        waiting = _read_magic(member.unused_data, packed)


def _read_magic(waiting: bytes, packed: BinaryIO) -> bytes:
    """At least the two bytes with which a member begins, past any padding of zeros; less at the end of the
    file.
    """
    waiting = waiting.lstrip(b"\0")
    while len(waiting) < len(_MAGIC) and (more := packed.read(_BLOCK_BYTES)):
        waiting = (waiting + more).lstrip(b"\0")
    return waiting
