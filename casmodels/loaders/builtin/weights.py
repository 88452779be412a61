"""Weights without a program: safetensors files and torch archives, as a state dict or in the user's own module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from posixpath import dirname, join
from typing import Any, Final

from casmodels.errors import NotLoadableError, UnsafeModelError
from casmodels.extras import library
from casmodels.formats.safetensors import safetensors_metadata
from casmodels.library.loading import Wanted, of_bytes
from casmodels.loaders.builtin.onnx import data_files
from casmodels.loaders.devices import CPU, torch_devices
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.quantised_tensors import KEPT_DTYPE, restored
from casmodels.loaders.stored_model import StoredModel
from casmodels.loaders.torch_modules import loaded_module
from casmodels.sources.gzipped import is_gzip_name, unpacked_name
from casmodels.sources.weights import SAFETENSORS, TORCH, format_of, index_of

_PICKLE: Final = b"\x80"
_OWN_MODULE: Final = "make the module as it was when they were saved, say prefix=, or strict=False"


class WeightsLoader:
    """A dict of torch's tensors by name; with ``into``, a torch module of the user's own that they are put in.

    Tensors are decoded straight into their own memory. Pickles are never executed, and one that holds more than
    ``torch.load(weights_only=True)`` takes is refused.
    """

    name = "weights"
    copies = 1

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """The safetensors files, else torch's, else the shards of the index that was named; not what an ONNX model
        keeps its tensors in."""
        if model.file is not None and index_of(model.file) is not None:
            return shards_of(model, model.file)
        found = in_one_format(model.candidates)
        models = model.ending(".onnx") if found else []
        others = data_files(model, models) if models else set()
        return [path for path in found if path not in others]

    def devices(self) -> Sequence[str]:
        """Torch's."""
        return torch_devices()

    def load(
        self, model: StoredModel, request: Request, *, into: Any = None, prefix: str = "", strict: bool = True
    ) -> Loaded:
        """``prefix`` chooses tensors by their names and is taken off for ``into``; without ``strict`` the module and
        the weights need not have the same names."""
        state = state_of(model, request.files, request.device, prefix)
        if into is None:
            return Loaded(state, move=lambda device: _move(state, device))
        as_saved = any(KEPT_DTYPE in metadata_of(model, path) for path in request.files)
        state = {name.removeprefix(prefix): value for name, value in state.items()}
        fill(into, state, str(model), strict=strict, assign=as_saved)
        return loaded_module(into, request.device)


def in_one_format(paths: Iterable[str]) -> list[str]:
    """Those of these files that are weights in safetensors, else those in torch's format; gzipped or not."""
    names = {path: unpacked_name(path) for path in paths}
    formats = {path: format_of(name, names.values()) for path, name in names.items()}
    found = ([path for path, its in formats.items() if its == wanted] for wanted in (SAFETENSORS, TORCH))
    return next(filter(None, found), [])


def state_of(model: StoredModel, files: Sequence[str], device: str = CPU, prefix: str = "") -> dict[str, Any]:
    """The tensors of these files. Raises UnsafeModelError; InvalidInputError for a name that two files have."""
    state: dict[str, Any] = {}
    homes: dict[str, str] = {}
    for path in files:
        if not unpacked_name(path).lower().endswith(".safetensors"):
            check_pickle(model, path)
        found = restored(tensors_of(model, path, device, prefix), metadata_of(model, path), model.called(path), prefix)
        for name in found:
            if name in state:
                raise NotLoadableError(
                    f"{model} has a tensor {name!r} in {homes[name]} and in {path}",
                    remedy="say which file or directory to load with path=",
                )
        state.update(found)
        homes.update(dict.fromkeys(found, path))
    return state


def tensors_of(model: StoredModel, path: str, device: str = CPU, prefix: str = "") -> dict[str, Any]:
    """The tensors of one file, whatever else is in it: a pickle is followed, not executed."""
    if not is_gzip_name(path):
        return model.tensors(path, prefix=prefix, framework="torch", device=None if device == CPU else device)
    found = of_bytes(model.read(path), model.called(path), Wanted(prefix=prefix), "torch")
    return {name: tensor.to(device) for name, tensor in found.items()}


def metadata_of(model: StoredModel, path: str) -> dict[str, str]:
    """What a safetensors file says of itself, beside its tensors; other files say nothing."""
    if not unpacked_name(path).lower().endswith(".safetensors"):
        return {}
    with model.unpacked(path) as file:
        return safetensors_metadata(file)


def check_pickle(model: StoredModel, path: str, known: Callable[[str], bool] = lambda _: False) -> None:
    """Raise UnsafeModelError for a torch file that holds more than tensors, plain values and what is ``known``."""
    torch = library("torch", "torch")
    with model.unpacked(path) as file:
        head = file.read(1)
        file.seek(0)
        try:
            named = torch.serialization.get_unsafe_globals_in_checkpoint(file)
        except ValueError:  # no archive of torch's: reading its tensors says what is wrong
            if head == _PICKLE:
                raise UnsafeModelError(f"{model.called(path)} is a pickle of a torch before 1.6") from None
            return
    foreign = sorted(name for name in named if not known(name))
    if foreign:
        some = ", ".join(foreign[:3])
        raise UnsafeModelError(f"{model.called(path)} is a pickle that is more than weights (it calls {some})")


def first_named(model: StoredModel, names: Iterable[str]) -> list[str]:
    """The first of these files that is there, gzipped or not; its shards where it is an index of them."""
    for name in names:
        if name in model.sizes:
            return shards_of(model, name) if name.endswith(".json") else [name]
        if name + ".gz" in model.sizes:
            return [name + ".gz"]
    return []


def shards_of(model: StoredModel, index: str) -> list[str]:
    """The files that an index of shards lists. Raises NotLoadableError when it is none, or when one is not there."""
    weight_map = model.read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise NotLoadableError(f"{model.called(index)} is no index of shards")
    shards = sorted({join(dirname(index), str(shard)) for shard in weight_map.values()})
    missing = [shard for shard in shards if shard not in model.sizes]
    if missing:
        raise NotLoadableError(
            f"{model} has no {missing[0]}, which {index} lists", remedy="`casmodels pull --all-files` brings all in"
        )
    return shards


def fill(
    module: Any, state: Mapping[str, Any], what: str, *, strict: bool, assign: bool = False, remedy: str = _OWN_MODULE
) -> None:
    """Put the weights into a module, of its own types unless ``assign`` puts them in the place of its own; ``what`` is
    what messages call them.

    Raises NotLoadableError that says what does not fit.
    """
    own = module.state_dict()
    lacking = [name for name in own if name not in state]
    foreign = [name for name in state if name not in own]
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    wrong = [f"{name} is {tuple(state[name].shape)} here and {tuple(own[name].shape)} there" for name in shapes[:3]]
    if strict and lacking:
        wrong.insert(0, f"the weights lack {', '.join(lacking[:3])}")
    if strict and foreign:
        wrong.insert(0, f"the module lacks {', '.join(foreign[:3])}")
    if not set(own) & set(state):
        wrong = wrong or ["no name is in both"]
    if wrong:
        raise NotLoadableError(
            f"the weights of {what} do not fit the module: {'; '.join(wrong)}",
            remedy=remedy,
        )
    assign = assign or any(value.is_meta for value in own.values())
    module.load_state_dict(dict(state), strict=False, assign=assign)


def _move(state: dict[str, Any], device: str) -> None:
    for name, tensor in state.items():
        state[name] = tensor.to(device)
