"""torchao's tensors in a safetensors file, as transformers writes and reads them.

A tensor of torchao's is several plain ones (``layer._weight_qdata``, ``layer._weight_scale``, …) and a piece of JSON in
the file's metadata that says how they belong together. torchao's own two functions for this refuse parameters of the
outermost module, so that they are called here one tensor at a time, through what they are made of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from casmodels.errors import BrokenLoaderError, MissingExtraError, NotLoadableError
from casmodels.extras import first_line, hushed, library
from casmodels.formats.safetensors import ELEMENTS, StoredNumbers, safetensors_bytes
from casmodels.formats.torch_tensors import DTYPES

EXTRA: Final = "quantise"
KEPT_DTYPE: Final = "casmodels_dtype"
"""Metadata of weights that are to stay of the type in which they were saved."""

_NAMES: Final = "tensor_names"
_PLAIN: Final = "Tensor"


def torchao(module: str = "torchao") -> Any:
    """A module of torchao's. What it logs of kernels for other machines helps nobody.

    Raises MissingExtraError, BrokenLoaderError.
    """
    with hushed("torchao", "torch.utils._pytree"):
        return library(module, EXTRA)


def silence_torchao() -> None:
    """Import what transformers imports by itself where torchao is installed, so that it is not told of."""
    with suppress(MissingExtraError, BrokenLoaderError):
        torchao("torchao.prototype.safetensors.safetensors_support")


def quantised_by_torchao(config: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` of transformers says so."""
    found = config.get("quantization_config")
    return isinstance(found, Mapping) and found.get("quant_method") == "torchao"


def is_quantised(tensor: Any) -> bool:
    """Whether a tensor is one of torchao's; it asks for torchao only where that is loaded already."""
    import sys

    utils = sys.modules.get("torchao.utils")
    return utils is not None and isinstance(tensor, utils.TorchAOBaseTensor)


def state_bytes(state: Mapping[str, Any], dtype: str) -> bytes:
    """A safetensors file of a state dict, always the same for the same numbers. Raises NotLoadableError for a type
    that safetensors does not have."""
    metadata = {KEPT_DTYPE: dtype, "format": "pt"}
    if not any(map(is_quantised, state.values())):
        return safetensors_bytes({name: _numbers(name, tensor) for name, tensor in state.items()}, metadata)
    described = torchao("torchao.prototype.safetensors.safetensors_utils").TensorSubclassAttributeJSONEncoder
    plain: dict[str, Any] = {}
    listed = []
    for name, tensor in state.items():
        if not is_quantised(tensor):
            plain[name] = tensor
            if "." in name:  # transformers stumbles over others that are listed
                metadata[name] = json.dumps({"_type": _PLAIN})
                listed.append(name)
            continue
        metadata[name] = json.dumps(tensor, cls=described)
        listed.append(name)
        for part in json.loads(metadata[name])["_tensor_data_names"]:
            plain[_part(name, part)] = getattr(tensor, part)
    metadata[_NAMES] = json.dumps(listed)
    return safetensors_bytes({name: _numbers(name, tensor) for name, tensor in plain.items()}, metadata)


def restored(state: dict[str, Any], metadata: Mapping[str, str], called: str, prefix: str = "") -> dict[str, Any]:
    """The state dict that was saved so, of the plain tensors of a file whose names begin with ``prefix``; ``called`` is
    what messages call the file.

    Only the classes that torchao lists itself are ever made. Raises NotLoadableError, MissingExtraError.
    """
    if _NAMES not in metadata:
        return state
    made_of = torchao("torchao.prototype.safetensors.safetensors_utils").object_from_dict
    left, found = dict(state), {}
    try:
        for name in (name for name in json.loads(metadata[_NAMES]) if name.startswith(prefix)):
            description = json.loads(metadata[name])
            if description["_type"] != _PLAIN:
                parts = {part: left.pop(_part(name, part)) for part in description["_tensor_data_names"]}
                description["_data"].update(parts)
                found[name] = made_of(description)
            elif name in left:
                found[name] = left.pop(name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotLoadableError(
            f"what {called} says of its quantised tensors cannot be understood: {first_line(error)}",
            remedy="quantise the model again with this version of torchao",
        ) from error
    return {**found, **left}


def _part(name: str, part: str) -> str:
    """What a part of a tensor is called in the file."""
    module, dot, own = name.rpartition(".")
    return f"{module}{dot}_{own}_{part}"


def _numbers(name: str, tensor: Any) -> StoredNumbers:
    torch = library("torch", "torch")
    kind = DTYPES.get(str(tensor.dtype).removeprefix("torch."))
    if kind not in ELEMENTS:
        raise NotLoadableError(f"the tensor {name!r} is of {tensor.dtype}, which safetensors does not have")
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return StoredNumbers(kind, tuple(tensor.shape), memoryview(flat.view(torch.uint8).numpy()))
