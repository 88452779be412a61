"""Which codec a chunk is stored with, and the way back."""

from __future__ import annotations

from typing import Final

from casstore.buffers import Buffer
from casstore.codecs import zstd
from casstore.codecs.ids import Codec
from casstore.errors import DamagedError

_WORD_WIDTHS: Final = {1: 1, 2: 2, 4: 4, 8: 8, 16: 8}  # items of 16 bytes are pairs: complex numbers
_LONG_ENOUGH_TO_GUESS: Final = 64 << 10  # shorter ones hold too few bytes to be worth it

_TEXT_PROBE_BYTES: Final = 16 << 10  # matches lie farther apart in text than in numbers

_INCOMPRESSIBLE: Final = 0.985
"""Bytes of unknown type are stored raw unless they come under this share: less is not worth decoding for."""


def encode(raw: Buffer, item_width: int) -> tuple[Codec, Buffer]:
    """The codec that stores these bytes in the fewest, and what it stores. Safe to call from many threads.

    ``item_width`` is bytes per element, 0 (or any other width) for bytes of which nothing is known. Samples
    decide what is tried. The raw codec stores ``raw`` itself, not a copy.
    """
    width = _WORD_WIDTHS.get(item_width, 0)
    codec, stored = _encode_words(raw, width, 0) if width else _encode_unknown(raw)
    return (codec, stored) if len(stored) < len(raw) else (Codec.RAW, raw)


def decode(codec: int, stored: Buffer, raw_length: int, out: memoryview | None = None) -> Buffer:
    """Exactly ``raw_length`` bytes, or DamagedError; takes at most three times that much memory and 3 MiB.

    Whether they are the right bytes is for the caller to check by their digest. The raw codec gives
    ``stored`` itself, not a copy. ``out``, of ``raw_length`` writable bytes, is memory that a codec may decode
    into: where they are in the end is what is given back.
    """
    if codec == Codec.RAW:
        if len(stored) != raw_length:
            raise DamagedError("a raw payload", f"it has {len(stored)} bytes, not {raw_length}")
        return stored
    if codec == Codec.ZSTD:
        return zstd.decode(stored, raw_length)
    if codec == Codec.BYTEPLANE:
        from casstore.codecs import byteplane

        return byteplane.decode(stored, raw_length, out)
    raise DamagedError("a frame", f"no codec has the id {codec}")


def encode_against(
    raw: Buffer, item_width: int, base: Buffer, cast: int, *, must_be_exact: bool = False
) -> tuple[Codec, Buffer] | None:
    """The codec and what it stores for a chunk, given its base's bytes and which cast makes them its own words.

    With ``must_be_exact``, None unless the chunk is that cast.
    """
    from casstore.codecs import against

    return against.encode(raw, item_width, base, cast, must_be_exact=must_be_exact)


def expected_share(raw: Buffer, item_width: int) -> float:
    """About the share that `encode` would leave of elements of 1, 2, 4 or 8 bytes, from 0 to 1, going by samples."""
    from casstore.codecs import byteplane

    return byteplane.expected_share(raw, item_width)


def decode_against(codec: int, stored: Buffer, raw_length: int, base: Buffer, cast: int) -> Buffer:
    """The same as `decode` for a chunk that was stored against a base."""
    from casstore.codecs import against

    return against.decode(codec, stored, raw_length, base, cast)


def _encode_words(raw: Buffer, width: int, lead_bytes: int) -> tuple[Codec, Buffer]:
    from casstore.codecs import byteplane

    stored = byteplane.encode(raw, width, lead_bytes)
    return (Codec.RAW, raw) if stored is None else (Codec.BYTEPLANE, stored)


def _encode_unknown(raw: Buffer) -> tuple[Codec, Buffer]:
    if len(raw) >= _LONG_ENOUGH_TO_GUESS:
        from casstore.codecs.sampling import guess_layout

        layout = guess_layout(raw)
        share = zstd.probe(raw, _TEXT_PROBE_BYTES) if layout.width == 1 else zstd.probe(raw)
        if min(share, layout.share) > _INCOMPRESSIBLE:
            return Codec.RAW, raw
        if layout.share <= share:  # matches add nothing: the bytes are numbers
            return _encode_words(raw, layout.width, layout.lead_bytes)
    return Codec.ZSTD, zstd.encode(raw)
