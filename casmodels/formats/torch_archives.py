"""Files of `torch.save` and TorchScript: a zip archive with a pickle that says how storages are made of tensors.

A storage is a member of its own. Where the pickle's tensors lie in it dense and apart from one another, each is a
span; what they leave, and a storage on whose tensors the file contradicts itself, is a span of the storage's
type and no key. Files from before torch 1.6 are no archives and stay opaque.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from casmodels.formats.archives import Archive, Member
from casmodels.formats.layout import (
    BYTE,
    COMPLEX_32,
    COMPLEX_64,
    COMPLEX_128,
    EIGHT_BYTES,
    FOUR_BYTES,
    TWO_BYTES,
    DoubtError,
    ElementType,
    checked,
    strided_key,
)
from casmodels.formats.pickles import MAX_PICKLE_BYTES, Global, Tensor, read_pickle
from casmodels.formats.tensor_names import tensor_names
from casstore.chunkers.spans import Span

_PICKLES: Final = {"data.pkl": "data", "constants.pkl": "constants"}
"""The pickles of an archive, and the folder of each one's storages; the second is TorchScript's."""

_STORAGES: Final = {
    "FloatStorage": FOUR_BYTES,
    "DoubleStorage": EIGHT_BYTES,
    "HalfStorage": TWO_BYTES,
    "BFloat16Storage": TWO_BYTES,
    "LongStorage": EIGHT_BYTES,
    "IntStorage": FOUR_BYTES,
    "ShortStorage": TWO_BYTES,
    "CharStorage": BYTE,
    "ByteStorage": BYTE,
    "BoolStorage": BYTE,
    "ComplexFloatStorage": COMPLEX_64,
    "ComplexDoubleStorage": COMPLEX_128,
    "QInt8Storage": BYTE,
    "QUInt8Storage": BYTE,
    "QInt32Storage": FOUR_BYTES,
    "UntypedStorage": BYTE,
}
_DTYPES: Final = {
    **dict.fromkeys(("float32", "int32", "uint32"), FOUR_BYTES),
    **dict.fromkeys(("float64", "int64", "uint64"), EIGHT_BYTES),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), TWO_BYTES),
    **dict.fromkeys(("int8", "uint8", "bool"), BYTE),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"), BYTE),
    "complex32": COMPLEX_32,
    "complex64": COMPLEX_64,
    "complex128": COMPLEX_128,
}


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A tensor's bytes within its storage."""

    start: int
    end: int
    key: bytes


def is_torch_archive(archive: Archive) -> bool:
    """Whether some member is what torch calls a pickle."""
    return any(name.endswith("/data.pkl") for name in archive.names())


def torch_spans(archive: Archive, size_bytes: int) -> list[Span]:
    """The tensors of a torch archive; raises DoubtError or what the readers below do for anything else."""
    root = root_of(archive)
    keyed = is_little_endian(archive, root)
    spans: list[Span] = []
    for pickle, folder in _PICKLES.items():
        member = archive.member(f"{root}/{pickle}")
        if member is None:
            continue
        unpickled = read_pickle(archive.read(member, MAX_PICKLE_BYTES))
        names = tensor_names(unpickled) if keyed else {}
        for key, tensors in _by_storage(unpickled.tensors).items():
            storage = archive.member(f"{root}/{folder}/{key}")
            if storage is not None and storage.length:
                spans += _storage_spans(storage, tensors, names)
    return checked(spans, size_bytes)


def root_of(archive: Archive) -> str:
    """The folder that everything is in, which every writer calls as it likes."""
    roots = [name.removesuffix("/data.pkl") for name in archive.names() if name.endswith("/data.pkl")]
    if len(roots) != 1 or "/" in roots[0]:
        raise DoubtError("no archive of torch's")
    return roots[0]


def is_little_endian(archive: Archive, root: str) -> bool:
    """Whether the numbers are as in a safetensors file; torch did not say so before 2.1, where all were."""
    member = archive.member(f"{root}/byteorder")
    return member is None or archive.read(member, len("little")) == b"little"


def _by_storage(tensors: Iterable[Tensor]) -> dict[str, list[Tensor]]:
    groups: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.storage.key, []).append(tensor)
    return groups


def _storage_spans(member: Member, tensors: list[Tensor], names: dict[Tensor, str]) -> Iterator[Span]:
    """Spans that cover a storage, if its type is known."""
    kinds = {_element_type(tensor) for tensor in tensors}
    kind = kinds.pop()
    if kind is None or kinds:
        return
    length = member.length - member.length % kind.block_bytes
    try:
        stretches = _stretches(tensors, kind, length, names)
    except DoubtError:
        stretches = []
    position = 0
    for stretch in [*stretches, _Stretch(length, length, b"")]:
        if stretch.start > position:
            yield Span(member.offset + position, stretch.start - position, kind.item_width, kind.block_bytes)
        if stretch.end > stretch.start:
            size = stretch.end - stretch.start
            yield Span(member.offset + stretch.start, size, kind.item_width, kind.block_bytes, stretch.key)
        position = stretch.end


def _element_type(tensor: Tensor) -> ElementType | None:
    if tensor.dtype is not None:
        return _named(tensor.dtype, _DTYPES)
    return _named(tensor.storage.kind, _STORAGES)


def _named(what: Global, types: dict[str, ElementType]) -> ElementType | None:
    return types.get(what.name) if what.module in ("torch", "torch.storage") else None


def _stretches(tensors: list[Tensor], kind: ElementType, length: int, names: dict[Tensor, str]) -> list[_Stretch]:
    """The dense tensors of a storage that lie in no other, in order; the first of those that share their bytes.

    Raises DoubtError where one is beyond the storage or two overlap in part.
    """
    found = []
    for tensor in tensors:
        if _is_dense(tensor):
            start = tensor.offset * kind.block_bytes
            found.append(_Stretch(start, start + kind.length_bytes(tensor.shape), _key(tensor, names)))
    kept: list[_Stretch] = []
    end = 0
    for stretch in sorted(found, key=lambda stretch: (stretch.start, -stretch.end)):
        if stretch.end <= end or stretch.start == stretch.end:
            continue
        if stretch.start < end or stretch.end > length:
            raise DoubtError("tensors that contradict one another")
        kept.append(stretch)
        end = stretch.end
    return kept


def _is_dense(tensor: Tensor) -> bool:
    """Whether its elements fill a stretch of the storage without a hole, in whatever order of the dimensions."""
    if len(tensor.shape) != len(tensor.stride):
        return False
    step = 1
    for stride, size in sorted(zip(tensor.stride, tensor.shape, strict=True)):
        if size != 1:
            if stride != step:
                return False
            step *= size
    return True


def _key(tensor: Tensor, names: dict[Tensor, str]) -> bytes:
    """As for the same tensor in a safetensors file, if the elements have the same order there."""
    name = names.get(tensor)
    if name is None:
        return b""
    return strided_key(name, tensor.shape, tensor.stride)
