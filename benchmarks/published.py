"""The published delta methods, written from their papers to be compared with on the same files; nobody's own programs.

**BitX** (ZipLLM, arXiv:2505.06252): a tensor is xor'ed with the one of the same name and shape in its base model;
exponents are taken apart from signs and mantissas, and both streams coded with zstd, level 3. What has no base is coded
so without xor.

**TX** (TensorDex, as its paper describes it): the xor's byte planes are coded with zstd, level 1, each on its own; a
tensor is attached to a base where that leaves at most 0.70 of it, and kept raw otherwise. Bases are kept raw.

Both keep equal tensors once. Headers and other files are counted as zstd, level 3, leaves them.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zstandard
from numpy.typing import NDArray

from casmodels.formats import find_spans
from casstore.sources import FileSource, open_source

Words = NDArray[np.unsignedinteger]

ATTACHED_AT_MOST = 0.70
_MOST_BASES = 4
_MANTISSA_BITS = {2: 7, 4: 23, 8: 52}


def bitx_bytes(words: Words) -> int:
    """What BitX leaves of the xor of two tensors."""
    word, mantissa_bits = words.dtype.type, _MANTISSA_BITS[words.itemsize]
    exponents = (words >> word(mantissa_bits)) & word((1 << 8 * words.itemsize - 1 - mantissa_bits) - 1)
    signs = words >> word(8 * words.itemsize - 1)
    rest = (words & word((1 << mantissa_bits) - 1)) | signs << word(mantissa_bits)
    coder = zstandard.ZstdCompressor(level=3)
    parts = ((exponents, 8), (rest, 1 + mantissa_bits))
    return sum(len(coder.compress(_low_bytes(part, bits))) for part, bits in parts)


def _low_bytes(words: Words, bits: int) -> bytes:
    """The bytes of each word that its lowest bits take."""
    return np.ascontiguousarray(words.view(np.uint8).reshape(words.size, -1)[:, : -(-bits // 8)]).tobytes()


def tx_bytes(words: Words) -> int:
    """What TX leaves of the xor of two tensors."""
    coder = zstandard.ZstdCompressor(level=1)
    planes = np.ascontiguousarray(words.view(np.uint8).reshape(-1, words.itemsize).T)
    return sum(len(coder.compress(plane.tobytes())) for plane in planes)


@dataclass
class Method:
    """One of the two over the versions that are put in: how many bytes it would keep."""

    delta_bytes: Callable[[Words], int]
    whole_bytes: Callable[[Words], int]
    attached_at_most: float
    stored_bytes: int = 0
    _seen: set[bytes] = field(default_factory=set)
    _bases: dict[tuple[bytes, int, int], list[Words]] = field(default_factory=lambda: defaultdict(list))

    def put(self, files: Iterable[Path]) -> None:
        """Take a version in."""
        for path in files:
            with open_source(path) as source:
                self._file(path, source)

    def _file(self, path: Path, source: FileSource) -> None:
        rest, position = [], 0
        for span in find_spans(path.name, source):
            rest.append(source.read_at(position, span.offset - position))
            position = span.offset + span.length
            data = source.read_at(span.offset, span.length)
            if span.item_width in _MANTISSA_BITS:
                self._tensor(span.key, np.frombuffer(data, f"<u{span.item_width}"))
            else:
                rest.append(data)
        rest.append(source.read_at(position, source.size_bytes - position))
        self._once(b"".join(rest), lambda data: len(zstandard.ZstdCompressor(level=3).compress(data)))

    def _tensor(self, key: bytes, words: Words) -> None:
        self._once(words.tobytes(), lambda _: self._best(self._bases[key, words.itemsize, words.size], words))

    def _best(self, bases: list[Words], words: Words) -> int:
        """Against the base that leaves least, or whole: then it is a base for those that follow."""
        left = min((self.delta_bytes(words ^ base) for base in bases[:_MOST_BASES]), default=words.nbytes)
        if bases and left <= self.attached_at_most * words.nbytes:
            return left
        bases.append(words)
        return self.whole_bytes(words)

    def _once(self, data: bytes, size_of: Callable[[bytes], int]) -> None:
        digest = hashlib.sha256(data).digest()
        if digest not in self._seen:
            self._seen.add(digest)
            self.stored_bytes += size_of(data)


def methods() -> dict[str, Method]:
    """A fresh one of each."""
    return {
        "BitX, from its paper": Method(bitx_bytes, bitx_bytes, 1.0),
        "TX, from its paper": Method(tx_bytes, lambda words: words.nbytes, ATTACHED_AT_MOST),
    }
