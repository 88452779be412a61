"""Codecs: reversible transforms of one chunk."""

from casstore.codecs.choice import decode, encode
from casstore.codecs.ids import Codec

__all__ = ["Codec", "decode", "encode"]
