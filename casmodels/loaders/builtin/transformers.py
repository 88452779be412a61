"""Models of transformers: configuration and tokenizer from small files, weights straight from the store."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from casmodels.errors import NotLoadableError, UnsafeModelError
from casmodels.extras import first_line, library
from casmodels.loaders.builtin.weights import first_named, state_of
from casmodels.loaders.devices import torch_devices
from casmodels.loaders.examples import sentences
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.memory_files import MemoryFiles
from casmodels.loaders.named_paths import outside
from casmodels.loaders.offline import offline
from casmodels.loaders.quantised_tensors import quantised_by_torchao, silence_torchao, torchao
from casmodels.loaders.stored_model import StoredModel
from casmodels.loaders.torch_modules import RunningModule
from casmodels.sources.weights import format_of

_log = logging.getLogger(__name__)
_CONFIG: Final = "config.json"
_WEIGHTS: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_OF_PAIRS: Final = ("logits_per_image", "logits_per_text")
"""What CLIP says of each item with every other of its batch: batch by batch, that would be nonsense."""

_PROCESSORS: Final = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json", "tokenizer.json")


class TransformersLoader:
    """The model of the class that ``config.json`` names, such as ``BertModel``; ``processor`` is its tokenizer.

    It is called with text or with the model's own inputs, and gives what the model gives; `process_batch` takes texts
    or a dict of inputs and gives a dict.
    """

    name = "transformers"
    copies = 1

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """A directory with ``config.json`` and the weights, under the names that transformers gives them."""
        if model.file is not None or _CONFIG not in model.sizes or "model_type" not in model.read_json(_CONFIG):
            return []
        return first_named(model, _WEIGHTS)

    def devices(self) -> Sequence[str]:
        """Torch's."""
        silence_torchao()
        library("transformers", "transformers")
        return torch_devices()

    def load(
        self,
        model: StoredModel,
        request: Request,
        *,
        architecture: str | None = None,
        dtype: Any = None,
        allow_missing: bool = False,
    ) -> Loaded:
        """``architecture`` is a class of transformers, instead of the one that ``config.json`` names; ``dtype`` a type,
        instead of that of the weights. With ``allow_missing``, what the weights lack is made up at random."""
        transformers = library("transformers", "transformers")
        with MemoryFiles() as files, offline(model):
            files.add_all(model, _inside(model, small_files(model)))
            config = _config(transformers, model, str(files.path))
            processor = _processor(transformers, model, str(files.path))
            kind = _class(transformers, model, config, architecture)
            if quantised_by_torchao(model.read_json(_CONFIG)):
                torchao()  # or transformers says less clearly that it is missing
                files.add_all(model, request.files)  # transformers wants to see what they say of their tensors, too
                made, missing = pretrained(kind, config, None, dtype, directory=str(files.path))
            else:
                made, missing = pretrained(kind, config, state_of(model, request.files), dtype)
        if missing and not allow_missing:
            raise NotLoadableError(
                f"the weights of {model} lack {len(missing)} tensors of {type(made).__name__}, such as {missing[0]}",
                remedy="say architecture= for a class that they are whole for, or allow_missing=True for random ones",
            )
        return _loaded(made, processor, request.device)


def pretrained(
    kind: Any, config: Any, state: dict[str, Any] | None, dtype: Any = None, *, directory: str | None = None
) -> tuple[Any, list[str]]:
    """A model of a class of transformers, of the tensors ``state`` or else of the safetensors in ``directory``, and the
    names of the tensors that the weights lack: these are random."""
    with without_bars():
        made, report = kind.from_pretrained(
            directory,
            config=config,
            state_dict=state,
            dtype=dtype if dtype is not None else "auto",
            output_loading_info=True,
            use_safetensors=True if directory is not None else None,
        )
    return made, sorted(report["missing_keys"])


@contextmanager
def without_bars(package: str = "transformers") -> Iterator[None]:
    """No progress bars of transformers or diffusers meanwhile: the weights are in memory already."""
    bars = library(f"{package}.utils.logging", package)
    enabled = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            bars.enable_progress_bar()


def small_files(model: StoredModel) -> list[str]:
    """What lies beside the weights in the same directory, such as the vocabulary."""
    return [path for path in model.sizes if "/" not in path and format_of(path, model.sizes) is None]


def _inside(model: StoredModel, paths: Sequence[str]) -> list[str]:
    """These without what belongs to a processor that would have something opened outside the version: the model is
    loaded with its tokenizer alone, or with none."""
    left_out = {path for path in paths if path != _CONFIG and any(outside(model, path))}
    for path in sorted(left_out):
        _log.warning("%s names something outside the version, and is left out", model.called(path))
    return [path for path in paths if path not in left_out]


def _config(transformers: Any, model: StoredModel, directory: str) -> Any:
    try:
        return transformers.AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError) as error:
        if "auto_map" in model.read_json(_CONFIG):
            raise UnsafeModelError(
                f"{model.called(_CONFIG)} names Python files for the model to be made with"
            ) from error
        raise


def _class(transformers: Any, model: StoredModel, config: Any, architecture: str | None) -> Any:
    """The class of a model that is named; a class that is none is not asked to load anything."""
    named = config.architectures
    name = architecture or (next(iter(named), None) if isinstance(named, list) else None) or "AutoModel"
    found = getattr(transformers, name, None) if isinstance(name, str) else None
    if found is None and architecture is not None:
        raise NotLoadableError(f"transformers has no class {architecture!r}", remedy="see its list of models")
    found = found or transformers.AutoModel
    if _is_auto(found):  # it finds the class by the configuration
        with library("torch", "torch").device("meta"):
            found = type(found.from_config(config))
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        source = f"{model.called(_CONFIG)} names" if architecture is None else "architecture= names"
        raise NotLoadableError(
            f"{source} {name!r} of transformers, which is no class of models", remedy="say the model's as architecture="
        )
    return found


def _is_auto(found: Any) -> bool:
    """Whether it is ``AutoModel`` or one of its kind."""
    return isinstance(found, type) and found.__name__.startswith("AutoModel") and hasattr(found, "from_config")


def _processor(transformers: Any, model: StoredModel, directory: str) -> Any:
    """The processor, or where its libraries are missing the tokenizer; None where there is neither."""
    if not any(name in model.sizes for name in _PROCESSORS):
        return None
    for kind in (transformers.AutoProcessor, transformers.AutoTokenizer):
        try:
            found = kind.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        except (ImportError, OSError, ValueError, KeyError, TypeError) as error:
            _log.info("%s has no %s: %s", model, kind.__name__, first_line(error))
            continue
        name_after(found, model)
        return found
    return None


def name_after(processor: Any, model: StoredModel) -> None:
    """Let a tokenizer, or that of a processor, be called as its model is: the directory that it came from will go."""
    tokenizer = getattr(processor, "tokenizer", processor)
    if hasattr(tokenizer, "name_or_path"):
        tokenizer.name_or_path = str(model)


def knows_words(tokenizer: Any) -> bool:
    """Whether it is a tokenizer of more than special tokens. Where the files of one are missing, transformers makes one
    up, to which all texts of one length are the same."""
    if not callable(tokenizer) or not hasattr(tokenizer, "pad_token"):
        return False
    return len(tokenizer) > len(tokenizer.all_special_tokens)


def _loaded(made: Any, processor: Any, device: str) -> Loaded:
    running = RunningModule(made.to(device).eval())
    tokenizer = getattr(processor, "tokenizer", processor)
    extra = {"use_cache": False} if "use_cache" in inspect.signature(made.forward).parameters else {}

    def prepare(data: Any) -> Any:
        if not _is_text(data):
            return data
        if not knows_words(tokenizer):
            raise NotLoadableError("the model has no tokenizer", remedy="give its inputs as a dict of arrays")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return dict(tokenizer(data, padding=True, truncation=True, return_tensors="pt"))

    def call(*arguments: Any, **keywords: Any) -> Any:
        if arguments and (isinstance(arguments[0], str) or _is_text(arguments[0])):
            first = [arguments[0]] if isinstance(arguments[0], str) else arguments[0]
            return running.call(*arguments[1:], **prepare(first), **keywords)
        return running.call(*arguments, **keywords)

    def call_batch(batch: Any) -> Any:
        found = running.call_batch({**batch, **extra} if isinstance(batch, dict) else batch)
        return {name: value for name, value in found.items() if name not in _OF_PAIRS}

    def again(other: Any) -> Loaded:
        return _loaded(other, processor, str(running.device))

    example = sentences if knows_words(tokenizer) else None
    return Loaded(made, call, call_batch, prepare, running.move, processor, example=example, again=again)


def _is_text(data: Any) -> bool:
    return isinstance(data, list) and bool(data) and isinstance(data[0], str)
