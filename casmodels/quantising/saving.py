"""A quantised model as a version: the files that its loader opens again, and what is noted of how it was made."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from posixpath import basename, dirname, join, normpath, splitext
from typing import TYPE_CHECKING, Any, Final

from casmodels.errors import NotQuantisableError
from casmodels.formats import DoubtError
from casmodels.formats.onnx import onnx_layout
from casmodels.loaders.local import LocalRunner, Origin
from casmodels.loaders.quantised_tensors import is_quantised, state_bytes
from casmodels.loaders.stored_model import StoredModel
from casmodels.quantising import modules
from casmodels.quantising.dtypes import HALVES
from casmodels.results.quantised import Quantised, QuantiseResult
from casmodels.sources.gzipped import unpacked_name
from casmodels.sources.weights import format_of, index_of, weights_of
from casstore.errors import InvalidInputError
from casstore.sources import BytesSource

if TYPE_CHECKING:
    from casmodels.quantising.quantise import QuantisedModel

_WEIGHTS: Final = "model.safetensors"
_CONFIG: Final = "config.json"
_NAMES: Final = re.compile(r"(?:pytorch_|tf_|flax_|rust_|openvino_)?model[._-]")
"""What transformers and its exporters call a model's weights."""


def save(small: QuantisedModel, name: str, sample: Any, message: str) -> QuantiseResult:
    """See `QuantisedModel.save`."""
    runner = small.runner
    origin = runner.origin if isinstance(runner, LocalRunner) else None
    if origin is None:
        raise InvalidInputError(
            f"{small.version} did not come from a store, so there is no version for it to be made from",
            remedy="load it with load_model, a module of your own with into=, and quantise that",
        )
    origin.model.store.check_own_name(name)
    similarity = small.compare(sample) if sample is not None else None
    changed, removed = _files(small, origin)
    weights = [path for path in changed if not path.endswith(".json")]
    quantised = Quantised(
        parent=origin.model.contents.target,
        dtype=small.dtype,
        method=small.method,
        weights_bytes=sum(len(changed[path]) for path in weights),
        parent_weights_bytes=sum(origin.model.sizes[path] for path in _replaced(small, origin)),
        sample_items=similarity.items if similarity is not None else 0,
        mean_similarity=similarity.mean if similarity is not None else None,
        smallest_similarity=similarity.smallest if similarity is not None else None,
        latency_ratio=similarity.latency_ratio if similarity is not None else None,
    )
    full = origin.model.full
    done = origin.model.store.derive(
        name, {full(path): data for path, data in changed.items()}, {full(path) for path in removed}, quantised, message
    )
    return QuantiseResult(
        name=done.name,
        version=done.version,
        parent=quantised.parent,
        files=done.files,
        size_bytes=done.size_bytes,
        stored_bytes=done.stored_bytes,
        seconds=done.seconds,
        quantised=quantised,
        unchanged=done.unchanged,
    )


def _files(small: QuantisedModel, origin: Origin) -> tuple[dict[str, bytes], set[str]]:
    """The files that are changed or new, and those that go; the paths count as the loader's do."""
    replaced = set(_replaced(small, origin))
    match small.loader:
        case "onnx":
            path = unpacked_name(origin.files[0])
            assert isinstance(small.runner, LocalRunner)
            return {path: small.runner.loaded.source}, replaced - {path} - _data_of_others(origin)
        case "transformers" | "sentence-transformers":
            folder = _folder(small, origin)
            changed = {join(folder, _CONFIG): _config(small, origin, join(folder, _CONFIG))}
            changed[join(folder, _WEIGHTS)] = state_bytes(_untied(modules.core_of(small.model)), small.dtype)
            others = {path for path in origin.model.sizes if _is_other_form(path, folder, origin)}
            return changed, (replaced | others) - changed.keys()
        case "weights":
            path = _weights_path(origin)
            indexes = {each for each in origin.model.sizes if _is_index(each, origin)}
            return {path: state_bytes(small.model.state_dict(), small.dtype)}, (replaced | indexes) - {path}
    raise NotQuantisableError(
        f"what the loader {small.loader!r} loads cannot be saved quantised, as it could not open it again",
        remedy="quantise it whenever it is loaded",
    )


def _replaced(small: QuantisedModel, origin: Origin) -> list[str]:
    """The files of weights in whose place the quantised ones come."""
    if small.loader != "sentence-transformers":
        return list(origin.files)
    folder = _folder(small, origin)
    return [path for path in origin.files if dirname(path) == folder]


def _folder(small: QuantisedModel, origin: Origin) -> str:
    """Where the transformer's configuration lies."""
    if small.loader == "transformers":
        return ""
    transformer = modules.core_of(small.model)
    names = [str(entry.get("path", "")) for entry in json.loads(origin.model.read("modules.json"))]
    for folder, module in zip(names, small.model, strict=False):
        if any(each is transformer for each in module.modules()) and join(folder, _CONFIG) in origin.model.sizes:
            return folder
    raise NotQuantisableError(
        f"{small.version} has no transformer of its own that could be saved quantised",
        remedy="quantise it whenever it is loaded",
    )


def _weights_path(origin: Origin) -> str:
    """Where the weights of a module come to lie: in place of those that were loaded, under a name that is free."""
    first = unpacked_name(origin.files[0])
    if len(origin.files) == 1 and first.endswith(".safetensors"):
        return first
    names = join(dirname(first), _WEIGHTS), splitext(first)[0] + ".safetensors"
    for path in names:
        if path in origin.files or path not in origin.model.sizes:
            return path
    raise InvalidInputError(
        f"{origin.model} has other files called {' and '.join(map(origin.model.full, names))}, in whose place the "
        "quantised weights would come",
        remedy="save the weights in a version without them, and quantise that",
    )


def _is_index(path: str, origin: Origin) -> bool:
    """Whether a file is an index of the shards that were loaded."""
    index, first = index_of(path), unpacked_name(origin.files[0])
    if index is None or dirname(path) != dirname(first) or index.format != format_of(first, ()):
        return False
    return origin.model.file in (None, path) or index.role == weights_of(first, index.format).role


def _is_other_form(path: str, folder: str, origin: Origin) -> bool:
    """Whether a file is the unquantised transformer in another format: in its own folder by its name, or all of an
    export's folder in that or in the model's. Weights of other names or in other folders may be another model's."""
    if path in origin.files or (format_of(unpacked_name(path), origin.model.sizes) is None and index_of(path) is None):
        return False
    if dirname(path) == folder and _NAMES.match(basename(path).lower()):
        return True
    tops = {path.removeprefix(join(base, "")).partition("/")[0] for base in ("", folder)}
    return any(format_of(join(top, "file"), ()) is not None for top in tops)


def _data_of_others(origin: Origin) -> set[str]:
    """The files of the loaded ones in which other ONNX models of the version keep tensors, too; all that hold tensors
    where one of these cannot be read."""
    found: set[str] = set()
    version = StoredModel(origin.model.store, origin.model.contents.target)
    for path in version.ending(".onnx") if len(origin.files) > 1 else ():
        if path != origin.model.full(origin.files[0]):
            try:
                external = onnx_layout(BytesSource(version.read(path))).external
            except (DoubtError, InvalidInputError):
                return set(origin.files[1:])
            found |= {normpath(join(dirname(path), location)) for location in external}
    return {path for path in origin.files[1:] if origin.model.full(path) in found}


def _config(small: QuantisedModel, origin: Origin, path: str) -> bytes:
    """The configuration, with which transformers opens the weights by itself."""
    config = origin.model.read_json(path)
    core = modules.core_of(small.model)
    config["architectures"] = [type(core).__name__]
    if small.dtype in HALVES:
        config["torch_dtype" if "torch_dtype" in config else "dtype"] = HALVES[small.dtype]
    else:
        config["quantization_config"] = _quantization_config(small, core)
    return (json.dumps(config, indent=2) + "\n").encode("ascii")


def _quantization_config(small: QuantisedModel, core: Any) -> Mapping[str, Any]:
    import transformers

    made = transformers.TorchAoConfig(
        modules.torchao_config(small.dtype, activations=small.activations),
        modules_to_not_convert=[name for name, layer in modules.linear_layers(core) if not is_quantised(layer.weight)],
    )
    found: dict[str, Any] = made.to_dict()
    return found


def _untied(core: Any) -> dict[str, Any]:
    """The state dict without the second names of tensors, which transformers ties by itself."""
    state: dict[str, Any] = {}
    seen = set()
    for name, tensor in core.state_dict().items():
        place = (tensor.data_ptr(), tensor.shape) if not is_quantised(tensor) and tensor.numel() else name
        if place not in seen:
            state[name] = tensor
            seen.add(place)
    return state
