"""GGUF for reading: metadata and tensors, by the ``gguf`` package."""

from __future__ import annotations

from collections.abc import Sequence

from casmodels.extras import library
from casmodels.loaders.devices import CPU
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.memory_files import MemoryFiles
from casmodels.loaders.stored_model import StoredModel
from casmodels.sources.gzipped import unpacked_name


class GgufLoader:
    """A ``gguf.GGUFReader`` on a memory file: ``fields`` is the metadata, ``tensors`` are views of the file."""

    name = "gguf"
    copies = 1

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """One ``.gguf`` file."""
        return model.only(model.ending(".gguf"))

    def devices(self) -> Sequence[str]:
        """It is only read."""
        return (CPU,)

    def load(self, model: StoredModel, request: Request) -> Loaded:
        """It has no options."""
        reader = library("gguf", "gguf").GGUFReader
        with MemoryFiles() as files:
            files.add_all(model, request.files)
            # What is mapped stays readable when the file is closed.
            return Loaded(reader(files.path / unpacked_name(request.files[0])))
