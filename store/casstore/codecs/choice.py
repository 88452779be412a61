"""Which codec a chunk is stored with, and the way back."""

from __future__ import annotations

from casstore.buffers import Buffer
from casstore.codecs import zstd
from casstore.codecs.ids import Codec
from casstore.errors import DamagedError

_PLANE_WIDTHS = frozenset((1, 2, 4, 8, 16))


def encode(raw: Buffer, item_width: int) -> tuple[Codec, Buffer]:
    """The codec that stores these bytes in the fewest, and what it stores. Safe to call from many threads.

    ``item_width`` is bytes per element, 0 (or any other width) for bytes of which nothing is known. The raw
    codec stores ``raw`` itself, not a copy.
    """
    found: tuple[Codec, Buffer] = (Codec.RAW, raw)
    if not raw:
        return found
    if item_width in _PLANE_WIDTHS:
        from casstore.codecs import byteplane

        stored: Buffer | None = byteplane.encode(raw, item_width)
        codec = Codec.BYTEPLANE
    else:
        stored = zstd.encode(raw)
        codec = Codec.ZSTD
    if stored is not None and len(stored) < len(raw):
        found = (codec, stored)
    return found


def decode(codec: int, stored: Buffer, raw_length: int) -> Buffer:
    """Exactly ``raw_length`` bytes, or DamagedError; never takes more memory than a small multiple of that.

    Whether they are the right bytes is for the caller to check by their digest. The raw codec gives
    ``stored`` itself.
    """
    if codec == Codec.RAW:
        if len(stored) != raw_length:
            raise DamagedError("a raw payload", f"it has {len(stored)} bytes, not {raw_length}")
        return stored
    if codec == Codec.ZSTD:
        return zstd.decode(stored, raw_length)
    if codec == Codec.BYTEPLANE:
        from casstore.codecs import byteplane

        return byteplane.decode(stored, raw_length)
    raise DamagedError("a frame", f"no codec has the id {codec}")
