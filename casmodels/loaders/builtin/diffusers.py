"""Pipelines and models of diffusers, such as Stable Diffusion: weights straight from the store, the rest in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from posixpath import dirname, join
from typing import Any, Final

from casmodels.errors import NotLoadableError, UnsafeModelError
from casmodels.extras import library
from casmodels.loaders.builtin.transformers import name_after, pretrained, without_bars
from casmodels.loaders.builtin.weights import fill, first_named, state_of
from casmodels.loaders.devices import torch_devices
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.memory_files import MemoryFiles
from casmodels.loaders.named_paths import check_named_paths
from casmodels.loaders.offline import offline
from casmodels.loaders.quantised_tensors import silence_torchao
from casmodels.loaders.stored_model import StoredModel
from casmodels.loaders.torch_modules import loaded_module
from casmodels.sources.gzipped import unpacked_name
from casmodels.sources.weights import LOADABLE, format_of, weights_of
from casstore.errors import InvalidInputError

_INDEX: Final = "model_index.json"
_CONFIG: Final = "config.json"
_CLASS: Final = "_class_name"
_STEMS: Final = (("diffusion_pytorch_model", "model"), ("diffusion_pytorch_model", "pytorch_model"))
"""What the weights are called in safetensors and in torch's format, in a component of diffusers and of transformers."""

_RENAMED: Final = {"CLIPFeatureExtractor": "CLIPImageProcessor"}
"""What classes of transformers are called since; many pipelines are older."""

_INCOMPLETE: Final = "`casmodels pull --all-files` brings all in; without= leaves a component of a pipeline out"
_REMEDY: Final = "see whether the config.json beside the weights is theirs"


class DiffusersLoader:
    """A pipeline such as ``StableDiffusionPipeline``, or one model such as a UNet.

    A pipeline is called as its library does. `process_batch` takes prompts, or a dict of lists such as ``prompt`` and
    ``generator``, and gives a dict of arrays, of which ``images`` is one. A single model is run as any torch module.
    """

    name = "diffusers"
    copies = 1

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """A directory with ``model_index.json``, or with the ``config.json`` and weights of a model of diffusers."""
        if model.file is not None:
            return []
        if _INDEX in model.sizes:
            return [_INDEX, *(file for name in _components(model) for file in _weights_in(model, name))]
        if _CONFIG not in model.sizes:
            return []
        config = model.read_json(_CONFIG)
        return _weights_in(model, "") if _CLASS in config and "model_type" not in config else []

    def devices(self) -> Sequence[str]:
        """Torch's."""
        silence_torchao()
        library("diffusers", "diffusers")
        return torch_devices()

    def load(
        self,
        model: StoredModel,
        request: Request,
        *,
        dtype: Any = None,
        variant: str | None = None,
        without: Sequence[str] = (),
        arguments: Mapping[str, Any] | None = None,
    ) -> Loaded:
        """``dtype`` is a type instead of that of the weights; ``variant`` says which weights, such as ``fp16``, where
        there are several; ``without`` are components of a pipeline to leave out, such as ``safety_checker``;
        ``arguments`` are those of every call of a pipeline, such as ``num_inference_steps``."""
        parts = _Parts(model, _torch_type(dtype), variant)
        if _INDEX not in model.sizes:
            parts.check_variant([""])
            kind = _class(model, _CONFIG, "diffusers", model.read_json(_CONFIG)[_CLASS])
            with offline(model):
                return loaded_module(parts.module("", kind), request.device)
        made = _pipeline(parts, without).to(request.device)
        made.set_progress_bar_config(disable=True)
        given = dict(arguments or {})

        def call(*values: Any, **keywords: Any) -> Any:
            return made(*values, **{**given, **keywords})

        def call_batch(batch: Any) -> Any:
            inputs = batch if isinstance(batch, dict) else {"prompt": batch}
            return call(**{"output_type": "np", **inputs})

        return Loaded(made, call, call_batch, move=made.to, processor=getattr(made, "tokenizer", None))


@dataclass(frozen=True, slots=True)
class _Parts:
    """Makes the models that a version has in its directories."""

    model: StoredModel
    dtype: Any
    variant: str | None

    def check_variant(self, folders: Collection[str]) -> None:
        """Raise NotLoadableError where no directory has weights of the variant."""
        present = {found for folder in folders for found in _variants(self.model, folder)}
        if self.variant is not None and self.variant not in present:
            others = " and ".join(sorted(present - {""}))
            raise NotLoadableError(
                f"{self.model} has no weights of the variant {self.variant!r}",
                remedy=f"it has {others}" if others else "leave variant= out",
            )

    def module(self, folder: str, kind: Any, directory: str = "") -> Any:
        """The model of that class; ``directory`` is where the small files of all are. Raises NotLoadableError."""
        what = self.model.called(folder) if folder else str(self.model)
        files = _weights_in(self.model, folder, self.variant)
        if not files or join(folder, _CONFIG) not in self.model.sizes:
            lacking = "weights" if not files else _CONFIG
            raise NotLoadableError(f"{what} has no {lacking}", remedy=_INCOMPLETE)
        state = state_of(self.model, files)
        if issubclass(kind, library("diffusers", "diffusers").ModelMixin):
            return self._of_diffusers(kind, join(folder, _CONFIG), state, what)
        if not issubclass(kind, library("transformers", "diffusers").PreTrainedModel):
            raise NotLoadableError(
                f"{what} is a {kind.__name__}, which is a model of neither diffusers nor transformers"
            )
        config = kind.config_class.from_pretrained(join(directory, folder), local_files_only=True)
        # Its config.json may name another type than the weights have; those of a variant do not.
        types = (value.dtype for value in state.values() if value.is_floating_point())
        made, missing = pretrained(kind, config, state, self.dtype or next(types, None))
        if missing:
            raise NotLoadableError(
                f"the weights of {what} lack {len(missing)} tensors of {kind.__name__}, such as {missing[0]}",
                remedy=_REMEDY,
            )
        return made

    def _of_diffusers(self, kind: Any, path: str, state: dict[str, Any], what: str) -> Any:
        config = self.model.read_json(path)
        if config.get("quantization_config"):
            raise NotLoadableError(
                f"{what} is quantised for another library", remedy="take its weights in full or in half precision"
            )
        # What is not written to takes no memory: the model's own tensors are replaced before that.
        with library("diffusers.models.modeling_utils", "diffusers").no_init_weights():
            made = kind.from_config(config)
        made._fix_state_dict_keys_on_load(state)  # Stable Diffusion 1.5 is older than today's names of its tensors
        if self.dtype is not None:
            _convert(state, self.dtype, kind._keep_in_fp32_modules or ())
        known = made.state_dict().keys() & state.keys()
        fill(made, {name: state[name] for name in known}, what, strict=True, assign=True, remedy=_REMEDY)
        return made.eval()


def _pipeline(parts: _Parts, without: Sequence[str]) -> Any:
    model, torch = parts.model, library("torch", "torch")
    components = _components(model)
    for name in without:
        if name not in components:
            raise InvalidInputError(f"{model} has no component {name!r}", remedy=f"it has {', '.join(components)}")
    kind = _class(model, _INDEX, "diffusers", model.read_json(_INDEX).get(_CLASS))
    if not issubclass(kind, library("diffusers", "diffusers").DiffusionPipeline):
        raise NotLoadableError(f"{model.called(_INDEX)} names {kind.__name__}, which is no pipeline")
    wanted = {name: _class(model, _INDEX, *found, name) for name, found in components.items() if name not in without}
    modules = {name: found for name, found in wanted.items() if issubclass(found, torch.nn.Module)}
    for name in wanted:
        if not any(path.startswith(name + "/") for path in model.sizes):
            raise NotLoadableError(f"{model} has no {name}, which its {_INDEX} lists", remedy=_INCOMPLETE)
    parts.check_variant(modules)
    with MemoryFiles() as files, without_bars("diffusers"), offline(model):
        small = list(_small_files(model, wanted))
        check_named_paths(model, small)
        files.add_all(model, [_INDEX, *small])
        given = {name: parts.module(name, found, str(files.path)) for name, found in modules.items()}
        given |= dict.fromkeys(without)
        made = kind.from_pretrained(str(files.path), local_files_only=True, low_cpu_mem_usage=False, **given)
    made.register_to_config(_name_or_path=str(model))
    for name, component in made.components.items():
        if name.startswith("tokenizer"):
            name_after(component, model)
    return made


def _components(model: StoredModel) -> dict[str, tuple[str, str]]:
    """The parts of a pipeline, and of each the library and the class; those that are null are left out."""
    return {
        name: (value[0], value[1])
        for name, value in model.read_json(_INDEX).items()
        if isinstance(value, list) and len(value) == 2 and all(isinstance(word, str) for word in value)
        if name != _CLASS
    }


def _class(model: StoredModel, source: str, package: str, name: object, component: str = "") -> Any:
    """The class that ``source`` names, of diffusers, of one of its pipelines' modules, or of transformers.

    Raises UnsafeModelError where it is one of the version's own, NotLoadableError where there is none.
    """
    diffusers, transformers = library("diffusers", "diffusers"), library("transformers", "diffusers")
    homes = {"diffusers": diffusers, "transformers": transformers}
    home = homes.get(package) or getattr(diffusers.pipelines, package, None)
    found = getattr(home, _RENAMED.get(name, name), None) if isinstance(name, str) else None
    if isinstance(found, type) and found.__module__.partition(".")[0] in homes:
        return found
    folder = join(dirname(source), component)
    own = [path for path in model.sizes if path.endswith(".py") and dirname(path) == folder]
    if own:
        raise UnsafeModelError(
            f"{model.called(source)} names a class of its own for {component or 'the model'}, in {own[0]}"
        )
    raise NotLoadableError(
        f"{model.called(source)} names the class {name!r} of {package}, which is not there",
        remedy="see whether a newer version of the library has it",
    )


def _small_files(model: StoredModel, folders: Collection[str]) -> Iterator[str]:
    """What lies beside the weights in the components' directories; no Python, so that none can be executed."""
    for path in model.sizes:
        if (
            dirname(path) in folders
            and not path.endswith(".py")
            and format_of(unpacked_name(path), model.sizes) is None
        ):
            yield path


def _weights_in(model: StoredModel, folder: str, variant: str | None = None) -> list[str]:
    """The weights of a directory: of the variant, else the full ones, else those of any variant."""
    for each in (variant or "", "", *sorted(_variants(model, folder))):
        found = first_named(model, (join(folder, name) for name in _names(each)))
        if found:
            return found
    return []


def _names(variant: str) -> Iterator[str]:
    dot = f".{variant}" if variant else ""
    for stems, suffix in zip(_STEMS, ("safetensors", "bin"), strict=True):
        for stem in stems:
            yield f"{stem}{dot}.{suffix}"
            yield f"{stem}.{suffix}.index{dot}.json"


def _variants(model: StoredModel, folder: str) -> set[str]:
    """The variants of the weights in a directory; the empty string is none."""
    names = {path: unpacked_name(path) for path in model.sizes if dirname(path) == folder}
    formats = {name: format_of(name, names.values()) for name in names.values()}
    return {weights_of(name, found).variant for name, found in formats.items() if found in LOADABLE}


def _torch_type(dtype: Any) -> Any:
    torch = library("torch", "torch")
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and not isinstance(found, torch.dtype):
        raise InvalidInputError(f"torch has no type {dtype!r}", remedy="such as float32, float16 or bfloat16")
    return found


def _convert(state: dict[str, Any], dtype: Any, kept: Collection[str]) -> None:
    """Give the tensors a type; those of the parts that are ``kept`` need single precision whatever the others have."""
    torch = library("torch", "torch")
    for name, value in state.items():
        if value.is_floating_point():
            state[name] = value.to(torch.float32 if not set(kept).isdisjoint(name.split(".")) else dtype)
