"""torch modules: linear layers by torchao, or every number in half the bits."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from casmodels.errors import NotQuantisableError
from casmodels.extras import first_line, library
from casmodels.loaders.quantised_tensors import EXTRA, is_quantised, torchao
from casmodels.quantising.dtypes import FP8, FP16, HALVES, INT8

_WEIGHTS: Final = {INT8: "Int8WeightOnlyConfig", FP8: "Float8WeightOnlyConfig"}
_PRODUCTS: Final = {INT8: "Int8DynamicActivationInt8WeightConfig", FP8: "Float8DynamicActivationFloat8WeightConfig"}


def is_module(model: Any) -> bool:
    """Whether it is a torch module; torch is asked only where it is loaded already."""
    import sys

    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def check_initialised(module: Any, name: str) -> None:
    """Raise NotQuantisableError for parameters and buffers that have no shape yet, as those of lazy layers."""
    torch = library("torch", EXTRA)
    for path, each in (*module.named_parameters(), *module.named_buffers()):
        if torch.nn.parameter.is_lazy(each):
            raise NotQuantisableError(
                f"{path} of {name} is not initialised yet", remedy="run the module once on a batch, then quantise it"
            )


def torchao_config(dtype: str, *, activations: bool) -> Any:
    """torchao's configuration. Raises MissingExtraError."""
    kinds = _PRODUCTS if activations else _WEIGHTS
    return getattr(torchao("torchao.quantization"), kinds[dtype])()


def quantised_module(module: Any, name: str, dtype: str, *, activations: bool) -> Any:
    """A copy in fewer bits. What stays as it is lies in memory once, for both. ``name`` is what messages call it.

    Raises NotQuantisableError, MissingExtraError.
    """
    torch = library("torch", EXTRA)
    if isinstance(module, torch.jit.ScriptModule):
        raise NotQuantisableError(
            f"{name} is compiled TorchScript", remedy="quantise the module that it was made from, or its ONNX export"
        )
    core = core_of(module)
    if _is_quantised(core):
        raise NotQuantisableError(f"{name} is quantised already", remedy="quantise the model that it was made from")
    if dtype in HALVES:
        _check_halvable(module, core)
        return _halved(_copied(module), getattr(torch, HALVES[dtype]), dtype)
    config = torchao_config(dtype, activations=activations)
    wanted = set(quantisable(core))
    if not wanted:
        raise NotQuantisableError(
            f"{name} has no linear layer of its own that could be quantised to {dtype}", remedy="use bf16 or fp16"
        )
    made = _copied(module)
    try:
        torchao("torchao.quantization").quantize_(core_of(made), config, lambda _, layer: layer in wanted)
        return made
    except (AssertionError, ImportError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise NotQuantisableError(
            f"{name} cannot be quantised to {dtype} here: {first_line(error)}",
            remedy="use another type" + (", or leave out activations" if activations else ""),
        ) from error


def core_of(module: Any) -> Any:
    """The module that is quantised: of a sentence-transformers model the transformer in it, else the module itself."""
    transformer = transformer_in(module)
    return module if transformer is None else transformer


def transformer_in(module: Any) -> Any:
    """The model of transformers in one of sentence-transformers; None where there is none."""
    if not is_sentence_transformer(module):
        return None
    return next((each for each in module.modules() if is_transformer(each)), None)


def is_transformer(module: Any) -> bool:
    """Whether it is a model of transformers."""
    import sys

    transformers = sys.modules.get("transformers")
    return transformers is not None and isinstance(module, transformers.PreTrainedModel)


def linear_layers(module: Any) -> Iterator[tuple[str, Any]]:
    """The names and layers that torchao can quantise."""
    torch = library("torch", EXTRA)
    unfit = torch.nn.modules.linear.NonDynamicallyQuantizableLinear
    for name, layer in module.named_modules():
        if isinstance(layer, torch.nn.Linear) and not isinstance(layer, unfit):
            yield name, layer


def quantisable(module: Any) -> list[str]:
    """The names of the linear layers that are quantised: not those that share their weights with another layer, and
    not the outputs of a model of transformers, whose errors nothing evens out."""
    users = Counter(id(parameter) for layer in module.modules() for parameter in layer.parameters(recurse=False))
    outputs = module.get_output_embeddings() if is_transformer(module) else None
    return [
        name
        for name, layer in linear_layers(module)
        if layer is not outputs
        and users[id(layer.weight)] == 1
        and layer.weight.numel()
        and layer.weight.is_floating_point()
    ]


def weights_bytes(module: Any) -> int:
    """What the parameters and buffers take, each once."""
    seen = {id(each): each for each in (*module.parameters(), *module.buffers())}
    return sum(each.numel() * each.element_size() for each in seen.values())


def is_sentence_transformer(module: Any) -> bool:
    """Whether it is a model of sentence-transformers."""
    import sys

    library_ = sys.modules.get("sentence_transformers")
    return library_ is not None and isinstance(module, library_.SentenceTransformer)


def _is_quantised(module: Any) -> bool:
    if getattr(getattr(module, "config", None), "quantization_config", None) is not None:
        return True
    return any(is_quantised(parameter) for parameter in module.parameters())


def _check_halvable(module: Any, core: Any) -> None:
    inside = {id(parameter) for parameter in core.parameters()}
    for layer in module.modules() if core is not module else ():
        if any(id(parameter) not in inside for parameter in layer.parameters(recurse=False)):
            raise NotQuantisableError(
                f"{type(module).__name__} has weights outside of its transformer, which its library opens in fp32 only",
                remedy="use int8 or fp8, which leave them as they are",
            )


def _copied(module: Any) -> Any:
    """A copy whose parameters are its own but lie where the original's do, until something else takes their place."""
    torch = library("torch", EXTRA)
    shared = {
        id(parameter): torch.nn.Parameter(parameter.detach(), requires_grad=False) for parameter in module.parameters()
    }
    try:
        return copy.deepcopy(module, shared)
    except Exception as error:  # whatever an object's own copying does
        raise NotQuantisableError(
            f"{type(module).__name__} cannot be copied: {first_line(error)}", remedy="quantise the module inside it"
        ) from error


def _halved(module: Any, kind: Any, dtype: str) -> Any:
    """All numbers of that type, but those that are made anew whenever the model is loaded, and those that its library
    keeps in full."""
    kept = _kept_in_full(module, dtype)
    changed = False
    for path, layer in module.named_modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if parameter.is_floating_point() and not kept & {*path.split("."), name}:
                changed |= parameter.dtype != kind
                parameter.data = _cast(parameter.data, dtype, f"{path}.{name}".lstrip("."), module)
        for name, buffer in layer.named_buffers(recurse=False):
            if buffer.is_floating_point() and name not in layer._non_persistent_buffers_set:
                setattr(layer, name, _cast(buffer, dtype, f"{path}.{name}".lstrip("."), module))
    if not any(True for _ in module.parameters()):
        raise NotQuantisableError(f"{type(module).__name__} has no parameters", remedy="use it as it is")
    if not changed:
        raise NotQuantisableError(f"{type(module).__name__} is of {dtype} already", remedy="use int8 or fp8")
    return module


def _cast(tensor: Any, dtype: str, name: str, module: Any) -> Any:
    """The numbers in half the bits. Raises NotQuantisableError where one would become infinite."""
    torch = library("torch", EXTRA)
    cast = tensor.to(getattr(torch, HALVES[dtype]))
    if bool((torch.isinf(cast) & ~torch.isinf(tensor)).any()):
        raise NotQuantisableError(
            f"{name} of {type(module).__name__} has numbers that are too large for {dtype}",
            remedy="use bf16" if dtype == FP16 else "use int8 or fp8",
        )
    return cast


def _kept_in_full(module: Any, dtype: str) -> set[str]:
    core = core_of(module)
    names = set(getattr(core, "_keep_in_fp32_modules_strict", None) or ())
    return names | set(getattr(core, "_keep_in_fp32_modules", None) or ()) if dtype == FP16 else names
