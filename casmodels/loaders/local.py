"""A model in this process."""

from __future__ import annotations

import gc
import sys
from dataclasses import dataclass
from typing import Any

from casmodels.errors import DeviceError, NotLoadableError
from casmodels.loaders.batches import batches, joined
from casmodels.loaders.devices import choose
from casmodels.loaders.loader import Loaded, Loader
from casmodels.loaders.stored_model import StoredModel
from casmodels.runtime.memory import give_back_freed


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model's weights came from: the version, or a directory or file of it, and the files in it."""

    model: StoredModel
    files: tuple[str, ...]


class LocalRunner:
    """Calls what a loader gave; see `casmodels.loaders.handle.Runner`.

    ``origin`` is None for what was not loaded from a store.
    """

    def __init__(self, loader: Loader, loaded: Loaded, device: str, origin: Origin | None = None) -> None:
        self.loader = loader
        self.loaded = loaded
        self.device = device
        self.origin = origin

    @property
    def worker_id(self) -> None:
        """The model has no process of its own."""

    @property
    def ended(self) -> bool:
        """It is here until it is closed."""
        return False

    @property
    def model(self) -> Any:
        """The library's own object."""
        return self.loaded.model

    @property
    def processor(self) -> Any:
        """What makes its inputs."""
        return self.loaded.processor

    def call(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Run it once. Raises NotLoadableError where there is nothing to call."""
        return self._callable(self.loaded.call)(*arguments, **keywords)

    def process(self, data: Any, batch_size: int) -> Any:
        """Run it batch by batch."""
        call = self._callable(self.loaded.call_batch or self.loaded.call)
        prepared = self.loaded.prepare(data) if self.loaded.prepare is not None else data
        return joined([(call(batch), count) for batch, count in batches(prepared, batch_size)])

    def example(self, items: int) -> Any:
        """A batch to try it with. Raises NotLoadableError where the loader knows none."""
        if self.loaded.example is None:
            self._callable(self.loaded.call_batch or self.loaded.call)
            raise NotLoadableError(
                f"what the loader {self.loader.name!r} loads does not say which data it takes",
                remedy="give data of your own",
            )
        return self.loaded.example(items)

    def move(self, device: str) -> None:
        """Bring it to another device. Raises DeviceError."""
        chosen = choose(device, self.loader.devices(), use_gpu=True, what=f"the loader {self.loader.name!r}")
        if chosen == self.device:
            return
        if self.loaded.move is None:
            raise DeviceError(
                f"what the loader {self.loader.name!r} loads stays where it is",
                remedy=f"load it again with device={device!r}",
            )
        self.loaded.move(chosen)
        self.device = chosen

    def close(self) -> None:
        """Let go of the model, and give the memory that is free then back to the system. Raises BrokenLoaderError."""
        on_gpu, torch = self.device.startswith("cuda"), sys.modules.get("torch")
        try:
            self.loaded.close()
        finally:
            self.loaded = Loaded(None)
            gc.collect()
            if on_gpu and torch is not None:
                torch.cuda.empty_cache()
            give_back_freed()

    def _callable(self, found: Any) -> Any:
        if found is None:
            raise NotLoadableError(
                f"what the loader {self.loader.name!r} loads cannot be called",
                remedy="work with .model, the library's own object",
            )
        return found
