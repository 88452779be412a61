"""The delta codec: numbers that differ little from those expected. FORMAT.md, "Codecs", gives the bytes."""

from casstore.codecs.delta.decoding import decode
from casstore.codecs.delta.encoding import encode

__all__ = ["decode", "encode"]
