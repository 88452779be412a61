"""TensorFlow's SavedModel: a directory, which TensorFlow reads by path."""

from __future__ import annotations

from collections.abc import Sequence
from posixpath import dirname
from typing import Any, Final

from casmodels.extras import library
from casmodels.loaders.devices import CPU
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.memory_files import MemoryFiles
from casmodels.loaders.stored_model import StoredModel

_GRAPH: Final = "saved_model.pb"
_SIGNATURE: Final = "serving_default"


class SavedModelLoader:
    """What ``tf.saved_model.load`` gives. It is called as the signature ``serving_default``, where it has that."""

    name = "saved-model"
    copies = 2

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """``saved_model.pb`` first, and all that lies in its directory."""
        graphs = [path for path in model.candidates if path.rpartition("/")[2] == _GRAPH]
        if not graphs:
            return []
        (graph,) = model.only(graphs, stem="saved_model")
        folder = dirname(graph)
        beside = (path for path in model.sizes if path != graph and (not folder or path.startswith(folder + "/")))
        return [graph, *beside]

    def devices(self) -> Sequence[str]:
        """TensorFlow's."""
        found = library("tensorflow", "tensorflow").config.list_physical_devices("GPU")
        return (*(f"cuda:{number}" for number in range(len(found))), CPU)

    def load(self, model: StoredModel, request: Request) -> Loaded:
        """It has no options."""
        tensorflow = library("tensorflow", "tensorflow")
        place = tensorflow.device(request.device.replace("cuda", "GPU").upper())
        with MemoryFiles() as files, place:
            files.add_all(model, request.files)
            made = tensorflow.saved_model.load(str(files.path / dirname(request.files[0])))
        signature = made.signatures.get(_SIGNATURE)

        def call(*arguments: Any, **inputs: Any) -> Any:
            constants = {name: tensorflow.constant(value) for name, value in inputs.items()}
            found = signature(*(tensorflow.constant(value) for value in arguments), **constants)
            return {name: value.numpy() for name, value in found.items()}

        def call_batch(batch: Any) -> Any:
            return call(**batch) if isinstance(batch, dict) else call(batch)

        return Loaded(made, call, call_batch) if signature is not None else Loaded(made)
