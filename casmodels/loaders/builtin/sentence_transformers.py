"""Models of sentence-transformers, which reads a directory: it gets one in memory."""

from __future__ import annotations

from collections.abc import Sequence
from posixpath import dirname, join, normpath
from typing import Any, Final

from casmodels.errors import NotLoadableError
from casmodels.extras import library
from casmodels.loaders.builtin.transformers import knows_words, without_bars
from casmodels.loaders.builtin.weights import check_pickle, in_one_format
from casmodels.loaders.devices import torch_devices
from casmodels.loaders.examples import sentences
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.memory_files import MemoryFiles
from casmodels.loaders.named_paths import check_named_paths
from casmodels.loaders.offline import offline
from casmodels.loaders.quantised_tensors import quantised_by_torchao, silence_torchao, torchao
from casmodels.loaders.stored_model import StoredModel
from casmodels.sources.gzipped import unpacked_name
from casmodels.sources.weights import format_of

_MODULES: Final = "modules.json"
_CONFIGURED: Final = ("Transformer", "Pooling", "Dense")


class SentenceTransformersLoader:
    """A ``SentenceTransformer``. It is called as its ``encode``."""

    name = "sentence-transformers"
    copies = 2

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """The weights of all modules, where ``modules.json`` lists some; each directory's in the format it has."""
        if model.file is not None or _MODULES not in model.sizes:
            return []
        folders = sorted({dirname(path) for path in model.sizes})
        inside = ([path for path in model.sizes if dirname(path) == folder] for folder in folders)
        return [path for paths in inside for path in in_one_format(paths)]

    def devices(self) -> Sequence[str]:
        """Torch's."""
        silence_torchao()
        library("sentence_transformers", "sentence-transformers")
        return torch_devices()

    def load(self, model: StoredModel, request: Request, *, truncate_dim: int | None = None) -> Loaded:
        """``truncate_dim`` is how many dimensions the embeddings are to have."""
        made_by = library("sentence_transformers", "sentence-transformers").SentenceTransformer
        configs = [path for path in model.sizes if path.rpartition("/")[2] == "config.json"]
        if any(quantised_by_torchao(model.read_json(path)) for path in configs):
            torchao()  # or transformers says less clearly that it is missing
        for path in request.files:
            if not unpacked_name(path).lower().endswith(".safetensors"):
                check_pickle(model, path)
        with MemoryFiles() as files, without_bars(), offline(model):
            small = [path for path in model.sizes if format_of(unpacked_name(path), model.sizes) is None]
            check_named_paths(model, small)
            _check_modules(model)
            files.add_all(model, (*small, *request.files))
            made = made_by(
                str(files.path),
                device=request.device,
                truncate_dim=truncate_dim,
                local_files_only=True,
                trust_remote_code=False,
            )
        tokenizer = getattr(made, "tokenizer", None)
        if hasattr(tokenizer, "all_special_tokens") and not knows_words(tokenizer):
            raise NotLoadableError(f"{model} has no tokenizer", remedy="save it with the files of its tokenizer")
        return loaded_encoder(made)


def _check_modules(model: StoredModel) -> None:
    """Raise NotLoadableError where ``modules.json`` lists none, or one without settings that it needs."""
    modules = model.read_json_value(_MODULES)
    if not isinstance(modules, list) or not modules or not all(isinstance(module, dict) for module in modules):
        raise NotLoadableError(f"{model.called(_MODULES)} is no list of modules")
    files = {unpacked_name(path) for path in model.sizes}
    for module in modules:
        settings = normpath(join(str(module.get("path", "")), "config.json"))
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind in _CONFIGURED and files.isdisjoint({settings, join(dirname(settings), "adapter_config.json")}):
            raise NotLoadableError(
                f"{model} has no {model.full(settings)}, which its {kind} needs",
                remedy="bring in or save the model with all of its files",
            )


def loaded_encoder(made: Any) -> Loaded:
    """A ``SentenceTransformer`` as it is run."""

    def encode(batch: Any) -> Any:
        return made.encode(batch, batch_size=len(batch), show_progress_bar=False)

    return Loaded(
        made,
        made.encode,
        encode,
        move=made.to,
        processor=getattr(made, "tokenizer", None),
        example=sentences,
        again=loaded_encoder,
    )
