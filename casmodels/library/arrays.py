"""Bytes as arrays: what NumPy and torch call the types of tensors, and views of memory in them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from casmodels.errors import MissingPackageError, UnreadableWeightsError
from casmodels.formats import StoredTensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NUMPY_TYPES: Final = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
    "C64": "<c8",
    "C128": "<c16",
}
"""What NumPy calls the types that it has, by their names in safetensors."""

_ML_DTYPES: Final = {
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
"""Types that NumPy lacks, and what ml_dtypes calls them; torch does so too."""

_TORCH: Final = {
    **_ML_DTYPES,
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
    "C128": "complex128",
}


def numpy_type(dtype: str) -> np.dtype[Any]:
    """The type that NumPy has for one of safetensors' names.

    For a type that NumPy lacks it is that of ml_dtypes, if it is installed; else one field of that name, which holds
    the bits as whole numbers: ``array["bfloat16"]`` is an array of uint16. Raises UnreadableWeightsError.
    """
    import numpy as np

    if dtype in NUMPY_TYPES:
        return np.dtype(NUMPY_TYPES[dtype])
    if dtype not in _ML_DTYPES:
        raise UnreadableWeightsError(f"NumPy has no type for {dtype}")
    name = _ML_DTYPES[dtype]
    if find_spec("ml_dtypes") is not None:
        kind: np.dtype[Any] = np.dtype(getattr(import_module("ml_dtypes"), name))
        return kind
    return np.dtype([(name, "<u2" if dtype == "BF16" else "u1")])


def numpy_array(memory: NDArray[Any], tensor: StoredTensor, begin: int) -> NDArray[Any]:
    """A tensor in memory that holds the file's bytes from ``begin`` on."""
    import numpy as np

    kind = numpy_type(tensor.dtype)
    if not tensor.elements:
        return np.empty(tensor.shape, kind)
    low, high = (tensor.storage_at + place - begin for place in tensor.extent)
    flat = memory[low:high].view(kind)
    if tensor.is_dense:
        return flat.reshape(tensor.shape)
    assert tensor.stride is not None
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, [step * kind.itemsize for step in tensor.stride])


def torch_bytes(memory: NDArray[Any], device: str | None) -> Any:
    """Memory as torch's bytes, on the device."""
    storage = _torch().from_numpy(memory)
    return storage if device is None else storage.to(device)


def torch_tensor(storage: Any, tensor: StoredTensor, begin: int) -> Any:
    """A tensor in torch's bytes, which are the file's from ``begin`` on."""
    torch = _torch()
    kind = getattr(torch, _TORCH.get(tensor.dtype, ""), None)
    if kind is None:
        raise UnreadableWeightsError(f"torch has no type for {tensor.dtype}")
    if not tensor.elements:
        return torch.empty(tensor.shape, dtype=kind, device=storage.device)
    low, high = (tensor.storage_at + place - begin for place in tensor.extent)
    flat = storage[low:high].view(kind)
    return flat.view(tensor.shape) if tensor.is_dense else flat.as_strided(tensor.shape, tensor.stride)


def _torch() -> Any:
    try:
        return import_module("torch")
    except ModuleNotFoundError as error:
        raise MissingPackageError("torch") from error
