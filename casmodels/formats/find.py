"""Find a file's spans by what its bytes say it is."""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence

from casmodels.formats.layout import DoubtError, StoredTensor
from casmodels.formats.safetensors import looks_like_safetensors, safetensors_spans, safetensors_tensors
from casstore.chunkers.spans import RandomAccess, Span

_log = logging.getLogger(__name__)
_HEAD_BYTES = 9
_ZIP_MAGIC = b"PK\x03\x04"

_BAD_BYTES = (
    DoubtError,
    ValueError,
    LookupError,
    ArithmeticError,
    TypeError,
    RuntimeError,
    EOFError,
    struct.error,
)
"""What readers raise for bytes that are not what they seem; an OSError says that the file cannot be read."""


def find_spans(name: str, source: RandomAccess) -> Sequence[Span]:
    """Where a file's tensors lie, in order, disjoint and inside the file; empty for anything not understood.

    The content decides; the name serves messages only. A file that contradicts itself anywhere gives no spans
    at all. Raises OSError when the file cannot be read, and nothing else.
    """
    head = source.read_at(0, _HEAD_BYTES)
    try:
        if looks_like_safetensors(head, source.size_bytes):
            return safetensors_spans(source)
        if head.startswith(_ZIP_MAGIC):
            return _archive_spans(source)
    except _BAD_BYTES as error:
        _log.debug("%s is kept as opaque bytes: %s", name, error)
    return []


def read_tensors(source: RandomAccess) -> list[StoredTensor]:
    """The tensors of a safetensors file or a torch archive.

    Raises DoubtError, which says why, where the file is neither or contradicts itself.
    """
    head = source.read_at(0, _HEAD_BYTES)
    try:
        if looks_like_safetensors(head, source.size_bytes):
            return safetensors_tensors(source)
        if head.startswith(_ZIP_MAGIC):
            return _archive_tensors(source)
    except DoubtError:
        raise
    except _BAD_BYTES as error:
        raise DoubtError(str(error) or "its bytes contradict each other") from error
    raise DoubtError("it is neither a safetensors file nor an archive of torch 1.6 or newer")


def _archive_tensors(source: RandomAccess) -> list[StoredTensor]:
    from zipfile import BadZipFile

    from casmodels.formats.torch_tensors import torch_tensors

    try:
        return torch_tensors(source)
    except BadZipFile as error:
        raise DoubtError(str(error)) from error


def _archive_spans(source: RandomAccess) -> Sequence[Span]:
    from zipfile import BadZipFile

    from casmodels.formats.torch_archives import torch_spans

    try:
        return torch_spans(source)
    except BadZipFile as error:
        raise DoubtError(str(error)) from error
