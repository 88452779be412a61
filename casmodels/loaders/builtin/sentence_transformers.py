"""Models of sentence-transformers, which reads a directory: it gets one in memory."""

from __future__ import annotations

from collections.abc import Sequence
from posixpath import dirname
from typing import Any

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


class SentenceTransformersLoader:
    """A ``SentenceTransformer``. It is called as its ``encode``."""

    name = "sentence-transformers"
    copies = 2

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """The weights of all modules, where ``modules.json`` lists some; each directory's in the format it has."""
        if model.file is not None or "modules.json" not in model.sizes:
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
