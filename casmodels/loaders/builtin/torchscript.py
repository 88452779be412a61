"""TorchScript: an archive with code in it, which torch's own interpreter runs; it knows no Python."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Sequence
from typing import Any, Final

from casmodels.extras import library
from casmodels.loaders.devices import torch_devices
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.stored_model import StoredModel
from casmodels.loaders.torch_modules import loaded_module

_SUFFIXES: Final = (".pt", ".pth", ".ts", ".jit", ".torchscript")


class TorchScriptLoader:
    """A ``torch.jit.ScriptModule``, read from memory."""

    name = "torchscript"
    copies = 2

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """The archive with code in it. A gzipped file is unpacked for this, as nothing else tells."""
        return model.only([path for path in model.ending(*_SUFFIXES) if _has_code(model, path)])

    def devices(self) -> Sequence[str]:
        """Torch's."""
        return torch_devices()

    def load(self, model: StoredModel, request: Request) -> Loaded:
        """It has no options."""
        return loaded_module(script_module(model.read(request.files[0]), request.device), request.device)


def script_module(archive: bytes, device: str) -> Any:
    """The ``torch.jit.ScriptModule`` of an archive. Raises what torch raises."""
    torch = library("torch", "torch")
    with warnings.catch_warnings():
        # Torch would rather see torch.export; the files are there all the same.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.load(io.BytesIO(archive), map_location=device)


def _has_code(model: StoredModel, path: str) -> bool:
    with model.unpacked(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return any(name.endswith("/constants.pkl") for name in archive.namelist())
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            return False
