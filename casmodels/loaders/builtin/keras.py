"""Keras: ``.keras`` and HDF5 files, by keras 3 on its torch backend unless it has been told another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from casmodels.errors import NotLoadableError, UnsafeModelError
from casmodels.extras import library
from casmodels.loaders.devices import torch_devices
from casmodels.loaders.examples import zeros
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.memory_files import MemoryFiles
from casmodels.loaders.stored_model import StoredModel
from casmodels.sources.gzipped import unpacked_name


class KerasLoader:
    """A ``keras.Model``. It is called with a batch and gives NumPy's arrays."""

    name = "keras"
    copies = 2

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """One ``.keras`` or HDF5 file."""
        return model.only(model.ending(".keras")) or model.only(model.ending(".h5", ".hdf5"))

    def devices(self) -> Sequence[str]:
        """Torch's."""
        _keras()
        return torch_devices()

    def load(self, model: StoredModel, request: Request, *, custom_objects: Any = None) -> Loaded:
        """``custom_objects`` are the classes and functions of the user's own, by name."""
        keras = _keras()
        with MemoryFiles(real_paths=True) as files, keras.device(_place(request.device)):
            files.add_all(model, request.files)
            path = files.path / unpacked_name(request.files[0])
            try:
                made = keras.saving.load_model(path, custom_objects=custom_objects, compile=False, safe_mode=True)
            except (ValueError, TypeError) as error:
                if "safe_mode" in str(error) or "unsafe" in str(error):
                    raise UnsafeModelError(f"{model.called(request.files[0])} holds Python code") from error
                raise

        def call(batch: Any) -> Any:
            with keras.device(_place(request.device)):
                return made.predict_on_batch(batch)

        return Loaded(
            made, call, lambda batch: call(_array(batch)), example=lambda items: zeros(_declared(made), items)
        )


def _declared(model: Any) -> dict[str, tuple[Any, str]]:
    try:
        inputs = list(model.inputs or ())
    except (AttributeError, ValueError):  # one that was never built
        inputs = []
    if not inputs:
        raise NotLoadableError("the model does not declare its inputs", remedy="give data of your own")
    return {each.name: (each.shape, each.dtype) for each in inputs}


def _keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")  # read when keras is imported first
    return library("keras", "keras")


def _place(device: str) -> str:
    return device if ":" in device else f"{device}:0"


def _array(batch: Any) -> Any:
    """Keras takes a list for several inputs."""
    import numpy as np

    return np.asarray(batch) if isinstance(batch, list) else batch
