"""The zstd codec: one ordinary zstd frame that states its content size. FORMAT.md, "Codecs"."""

from __future__ import annotations

import functools
import threading
from typing import Final

from casstore.buffers import Buffer
from casstore.errors import DamagedError

LEVEL: Final = 3
_PROBE_LEVEL: Final = 1
_PROBE_BLOCKS: Final = 4
_PROBE_BYTES: Final = 4 << 10


class _Tools(threading.local):
    """One thread's compressors and decompressor: zstandard's objects must not be shared."""

    def __init__(self) -> None:
        import zstandard

        orderly = zstandard.ZstdCompressionParameters(
            strategy=zstandard.STRATEGY_FAST, window_log=17, hash_log=6, min_match=7, target_length=0
        )
        self.plain = zstandard.ZstdCompressor(level=LEVEL)
        self.quick = zstandard.ZstdCompressor(level=_PROBE_LEVEL)
        self.orderly = zstandard.ZstdCompressor(compression_params=orderly)
        self.decompressor = zstandard.ZstdDecompressor()


@functools.cache
def _tools() -> _Tools:
    return _Tools()


def encode(raw: Buffer) -> bytes:
    """The frame; it may be longer than ``raw``."""
    return _tools().plain.compress(raw)


def probe(raw: Buffer, block_bytes: int = _PROBE_BYTES) -> float:
    """The share that would be left of ``raw``, from 0 to 1 or a little over, going by four blocks of it."""
    view = memoryview(raw)
    if len(view) > 2 * _PROBE_BLOCKS * block_bytes:
        stride = (len(view) - block_bytes) // _PROBE_BLOCKS
        starts = range(stride // 2, stride * _PROBE_BLOCKS, stride)
        raw = b"".join(view[start : start + block_bytes] for start in starts)
    return len(_tools().quick.compress(raw)) / max(len(raw), 1)


def encode_orderly(plane: Buffer) -> bytes:
    """A plane of float exponents as a frame: hardly any search for matches, nearly all entropy coding.

    On exponent bytes these settings give a better ratio than level 3 at five times its speed (ADR 006).
    """
    return _tools().orderly.compress(plane)


def decode(stored: Buffer, raw_length: int) -> bytes:
    """The ``raw_length`` bytes of a frame; DamagedError, before any memory is taken, if it does not state
    that length.
    """
    import zstandard

    try:
        if zstandard.get_frame_parameters(stored).content_size != raw_length:
            raise DamagedError("a zstd frame", f"it does not hold the {raw_length} bytes expected")
        raw = _tools().decompressor.decompress(stored, read_across_frames=False, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise DamagedError("a zstd frame", str(error)) from error
    if len(raw) != raw_length:
        raise DamagedError("a zstd frame", f"it yields {len(raw)} bytes, not {raw_length}")
    return raw


def decode_at_most(stored: Buffer, limit_bytes: int) -> bytes:
    """The bytes of a frame that states a size of at most ``limit_bytes``; DamagedError, before any memory is taken, for
    another.
    """
    import zstandard

    try:
        size_bytes = zstandard.get_frame_parameters(stored).content_size
    except zstandard.ZstdError as error:
        raise DamagedError("a zstd frame", str(error)) from error
    if size_bytes > limit_bytes:  # as is the number that stands for an unknown size
        raise DamagedError("a zstd frame", f"it may hold at most {limit_bytes} bytes here")
    return decode(stored, size_bytes)
