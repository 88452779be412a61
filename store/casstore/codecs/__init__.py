"""Codecs: reversible transforms of one chunk."""

from casstore.codecs.choice import decode, decode_against, encode, encode_against, expected_share
from casstore.codecs.ids import Codec

__all__ = ["Codec", "decode", "decode_against", "encode", "encode_against", "expected_share"]
