"""The tensors of a torch archive by name, and where their numbers lie. The pickle is followed, never executed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from casmodels.formats.archives import Archive, Member
from casmodels.formats.layout import DoubtError, StoredTensor
from casmodels.formats.pickles import MAX_PICKLE_BYTES, Global, Made, Tensor, read_pickle
from casmodels.formats.tensor_names import Branch, walk
from casmodels.formats.torch_archives import is_little_endian, root_of
from casstore.chunkers.spans import RandomAccess

_STORAGES: Final = {
    "FloatStorage": "F32",
    "DoubleStorage": "F64",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128",
}
DTYPES: Final = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
    "complex64": "C64",
    "complex128": "C128",
}
"""What safetensors calls the types of torch; ``C128`` is torch's alone."""
_BITS: Final = {
    **dict.fromkeys(("C128",), 128),
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
}


def torch_tensors(source: RandomAccess) -> list[StoredTensor]:
    """The tensors of a torch archive in the pickle's order, each under every name that leads to it.

    A name is what the tensor would have in a safetensors file; where two would have the same, all of the keys that
    lead there. What cannot be read has a ``problem``. Raises DoubtError, or what the readers of archives and pickles
    do, for what is no such archive.
    """
    archive = Archive(source)
    root = root_of(archive)
    pickle = archive.member(f"{root}/data.pkl")
    if pickle is None:
        raise DoubtError("its pickle is compressed")
    if not is_little_endian(archive, root):
        raise DoubtError("its numbers are big-endian")
    members: dict[str, Member | None] = {}
    found = []
    for name, branch in _named(list(_tensor_branches(archive.read(pickle, MAX_PICKLE_BYTES)))):
        tensor = branch.value
        if isinstance(tensor, Tensor):
            key = tensor.storage.key
            if key not in members:
                members[key] = archive.member(f"{root}/data/{key}")
            found.append(_stored(name, tensor, members[key]))
        else:
            found.append(StoredTensor(name, "", (), 0, 0, 8, problem=f"it is made by {tensor.maker.name}"))
    return found


def _tensor_branches(pickle: bytes) -> Iterator[Branch]:
    for branch in walk(read_pickle(pickle)):
        if isinstance(branch.value, Tensor) or _is_strange_tensor(branch.value):
            yield branch


def _is_strange_tensor(value: object) -> bool:
    """Whether this is a tensor that torch rebuilds in a way that is not understood: a sparse one, say."""
    maker = value.maker if isinstance(value, Made) else None
    return maker is not None and maker.module.startswith("torch._") and maker.name.startswith("_rebuild")


def _named(branches: list[Branch]) -> Iterator[tuple[str, Branch]]:
    short = Counter(branch.name for branch in branches)
    seen: set[str] = set()
    for branch in branches:
        name = branch.name if branch.name and short[branch.name] == 1 else branch.path
        if not name:
            name = "" if branch.path is None else "tensor"  # the file is one bare tensor
        if name and name in seen:
            raise DoubtError(f"two tensors are called {name!r}")
        seen.add(name)
        yield name, branch


def _stored(name: str, tensor: Tensor, member: Member | None) -> StoredTensor:
    dtype = _dtype(tensor)
    storage = member if member is not None else Member(0, 0)
    stored = StoredTensor(
        name,
        dtype,
        tensor.shape,
        storage.offset,
        storage.length,
        _BITS.get(dtype, 8),
        tensor.offset,
        tensor.stride,
        _problem(tensor, dtype, member),
    )
    if not stored.problem and stored.extent[1] > storage.length:
        raise DoubtError(f"the tensor {name!r} runs past the end of its storage")
    return stored


def _problem(tensor: Tensor, dtype: str, member: Member | None) -> str:
    if not tensor.is_plain:
        return "it is quantised, or kept as a conjugate or a negative"
    if len(tensor.shape) != len(tensor.stride):
        return "its shape and its strides contradict each other"
    if not dtype:
        return "its type is not known"
    return "" if member is not None else "its storage is missing or compressed"


def _dtype(tensor: Tensor) -> str:
    what, types = (tensor.dtype, DTYPES) if tensor.dtype is not None else (tensor.storage.kind, _STORAGES)
    assert isinstance(what, Global)
    return types.get(what.name, "") if what.module in ("torch", "torch.storage") else ""
