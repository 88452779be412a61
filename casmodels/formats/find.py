"""Find a file's spans by what its bytes say it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from casmodels.formats.external import ExternalTensors
from casmodels.formats.layout import BAD_BYTES, DoubtError, StoredTensor
from casmodels.formats.safetensors import looks_like_safetensors, safetensors_spans, safetensors_tensors
from casstore.chunkers.spans import RandomAccess, Span, SpanFinder

_log = logging.getLogger(__name__)
_HEAD_BYTES = 9


class Finder:
    """A span finder that remembers what ONNX models say of the files in which they keep their tensors."""

    def __init__(self) -> None:
        self._external = ExternalTensors()

    def __call__(self, name: str, source: RandomAccess) -> Sequence[Span]:
        """Where a file's tensors lie, in order, disjoint and inside the file; empty for anything not understood.

        The content decides; the name serves messages, as the name of the tensor of a file that has only one, and to
        know a file of which an ONNX model told. A file that contradicts itself anywhere gives no spans at all.
        Raises OSError or what the source raises when the file cannot be read, and nothing else.
        """
        head = source.read_at(0, _HEAD_BYTES)
        spans: Sequence[Span] = []
        try:
            if looks_like_safetensors(head, source.size_bytes):
                return safetensors_spans(source)
            if head[:1] == _ONNX_FIRST_BYTE:
                spans = self._onnx_spans(name, source)
            elif (reader := _reader(head)) is not None:
                return reader(name, source)
        except BAD_BYTES as error:
            _log.debug("%s is kept as opaque bytes: %s", name, error)
        return spans or self._external.spans(name, source)

    def _onnx_spans(self, name: str, source: RandomAccess) -> Sequence[Span]:
        from casmodels.formats.onnx import onnx_layout

        layout = onnx_layout(source)
        self._external.remember(name, layout)
        return layout.spans


def find_spans(name: str, source: RandomAccess) -> Sequence[Span]:
    """What a `Finder` that has seen no other file finds."""
    return Finder()(name, source)


def read_tensors(source: RandomAccess) -> list[StoredTensor]:
    """The tensors of a safetensors file or a torch archive.

    Raises DoubtError, which says why, where the file is neither or contradicts itself.
    """
    head = source.read_at(0, _HEAD_BYTES)
    try:
        if looks_like_safetensors(head, source.size_bytes):
            return safetensors_tensors(source)
        if _reader(head) is _archive_spans:
            return _archive_tensors(source)
    except DoubtError:
        raise
    except BAD_BYTES as error:
        raise DoubtError(str(error) or "its bytes contradict each other") from error
    raise DoubtError("it is neither a safetensors file nor an archive of torch 1.6 or newer")


def _archive_tensors(source: RandomAccess) -> list[StoredTensor]:
    from zipfile import BadZipFile

    from casmodels.formats.torch_tensors import torch_tensors

    try:
        return torch_tensors(source)
    except BadZipFile as error:
        raise DoubtError(str(error)) from error


def _reader(head: bytes) -> SpanFinder | None:
    """What reads files that begin so."""
    return next((reader for magic, reader in _READERS.items() if head.startswith(magic)), None)


def _archive_spans(_: str, source: RandomAccess) -> Sequence[Span]:
    from zipfile import BadZipFile

    from casmodels.formats.archives import Archive
    from casmodels.formats.torch_archives import is_torch_archive, torch_spans

    try:
        archive = Archive(source)
        if is_torch_archive(archive):
            return torch_spans(archive, source.size_bytes)
        from casmodels.formats.member_archives import member_spans

        return member_spans(archive, source)
    except BadZipFile as error:
        raise DoubtError(str(error)) from error


def _gguf_spans(_: str, source: RandomAccess) -> Sequence[Span]:
    from casmodels.formats.gguf import gguf_spans

    return gguf_spans(source)


def _npy_spans(name: str, source: RandomAccess) -> Sequence[Span]:
    from casmodels.formats.npy import npy_spans

    return npy_spans(name.rpartition("/")[2].removesuffix(".npy"), source)


def _hdf5_spans(_: str, source: RandomAccess) -> Sequence[Span]:
    from casmodels.formats.hdf5 import hdf5_spans

    return hdf5_spans(source)


# Readers are imported when the first file of their format comes.
_READERS: Final[dict[bytes, SpanFinder]] = {
    b"PK\x03\x04": _archive_spans,
    b"GGUF": _gguf_spans,
    b"\x93NUMPY": _npy_spans,
    b"\x89HDF\r\n\x1a\n": _hdf5_spans,
}
_ONNX_FIRST_BYTE: Final = b"\x08"
"""A protocol buffer has no magic; an ONNX model's first field is the number 1, its version."""
