"""Files that are known and are not loaded: each says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn

from casmodels.errors import NotLoadableError, UnsafeModelError
from casmodels.loaders.devices import CPU
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.stored_model import StoredModel
from casmodels.sources.gzipped import unpacked_name

_PICKLES: Final = (".joblib", ".pkl", ".pickle", ".dill")


class RefusingLoader:
    """Asked last, of versions that no loader knows."""

    name = "refused"
    copies = 0

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """Pickles of whatever kind, and GGML from before GGUF."""
        return model.ending(*_PICKLES) or [path for path in model.candidates if _is_ggml(path)]

    def devices(self) -> Sequence[str]:
        """Nothing is brought anywhere."""
        return (CPU,)

    def load(self, model: StoredModel, request: Request) -> Loaded:
        """Raises UnsafeModelError for a pickle, NotLoadableError for GGML."""
        _refuse(model, request.files[0])


def _refuse(model: StoredModel, path: str) -> NoReturn:
    if not _is_ggml(path):
        raise UnsafeModelError(f"{model.called(path)} is a pickle")
    raise NotLoadableError(
        f"{model.called(path)} is GGML, which came before GGUF and which no library reads any more",
        remedy="take the model's GGUF file, or convert this one with llama.cpp; the store gives it back as it is",
    )


def _is_ggml(path: str) -> bool:
    name = unpacked_name(path).rpartition("/")[2].lower()
    return name.endswith(".ggml") or (name.startswith("ggml") and name.endswith(".bin"))
