"""Running a torch module on whatever data comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from casmodels.extras import library
from casmodels.loaders.loader import Loaded


def loaded_module(module: Any, device: str, *, close: Callable[[], None] | None = None) -> Loaded:
    """A module that is called without gradients, with its data where it is and of its precision."""
    module.to(device).eval()
    running = RunningModule(module)
    loaded = Loaded(
        module,
        running.call,
        running.call_batch,
        move=running.move,
        again=lambda other: loaded_module(other, str(running.device)),
    )
    if close is not None:
        loaded.close = close
    return loaded


class RunningModule:
    """A module and where it is, which is where its data go."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.torch = library("torch", "torch")
        self._learn()

    def move(self, device: str) -> None:
        """Bring the module to a device."""
        self.module.to(device)
        self._learn()

    def call(self, *arguments: Any, **keywords: Any) -> Any:
        """As the module itself, but that arrays may be given for tensors."""
        with self.torch.inference_mode():
            return self.module(
                *(self.placed(value) for value in arguments),
                **{name: self.placed(value) for name, value in keywords.items()},
            )

    def call_batch(self, batch: Any) -> Any:
        """With a batch; a mapping becomes keywords, a list one tensor."""
        if isinstance(batch, dict):
            return self.call(**{name: self._stacked(values) for name, values in batch.items()})
        return self.call(self._stacked(batch))

    def _learn(self) -> None:
        values = next((v for v in (*self.module.parameters(), *self.module.buffers()) if v.is_floating_point()), None)
        self.device = values.device if values is not None else "cpu"
        self.dtype = values.dtype if values is not None else None

    def _stacked(self, values: Any) -> Any:
        if not isinstance(values, list) or not values:
            return values
        if isinstance(values[0], self.torch.Tensor):
            return self.torch.stack(values)
        import numpy as np

        return np.stack(values) if isinstance(values[0], np.ndarray) else self.torch.tensor(values)

    def placed(self, value: Any) -> Any:
        """An array or tensor where the module is, of its precision; anything else as it is."""
        import numpy as np

        if isinstance(value, np.ndarray):
            value = self.torch.tensor(value)
        if not isinstance(value, self.torch.Tensor):
            return value
        dtype = self.dtype if value.is_floating_point() else None
        return value.to(device=self.device, dtype=dtype)
