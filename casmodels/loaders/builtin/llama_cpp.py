"""GGUF for running, by llama-cpp-python where that is installed; it takes nothing but a path."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final

from casmodels.extras import library
from casmodels.loaders.devices import CPU
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.memory_files import MemoryFiles
from casmodels.loaders.stored_model import StoredModel
from casmodels.sources.gzipped import unpacked_name

_SHARD: Final = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.gguf\Z", re.IGNORECASE)


class LlamaCppLoader:
    """A ``llama_cpp.Llama``. It is called with a prompt, `process_batch` with a list of them."""

    name = "llama-cpp"
    copies = 1

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """A ``.gguf`` file or the shards of one, where llama-cpp-python is installed."""
        if find_spec("llama_cpp") is None:
            return []
        paths = model.ending(".gguf")
        shards = {match["stem"] for path in paths if (match := _SHARD.match(path))}
        return sorted(paths) if len(shards) == 1 and all(map(_SHARD.match, paths)) else model.only(paths)

    def devices(self) -> Sequence[str]:
        """A GPU where this build of llama.cpp has one."""
        if not library("llama_cpp", "llama-cpp").llama_supports_gpu_offload():
            return (CPU,)
        return ("mps" if sys.platform == "darwin" else "cuda:0", CPU)

    def load(self, model: StoredModel, request: Request, **options: Any) -> Loaded:
        """The options are those of ``llama_cpp.Llama``, such as ``n_ctx``."""
        llama = library("llama_cpp", "llama-cpp")
        options.setdefault("n_gpu_layers", 0 if request.device == CPU else -1)
        options.setdefault("verbose", False)
        with MemoryFiles() as files:
            files.add_all(model, request.files)
            # The weights are mapped, so that they stay readable when the file is closed.
            made = llama.Llama(model_path=str(files.path / unpacked_name(request.files[0])), **options)
        return Loaded(made, made, lambda prompts: [made(prompt) for prompt in prompts], close=made.close)
