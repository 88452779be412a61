"""The handle to a loaded model."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self

from casmodels.errors import UnloadedError, WorkerDiedError
from casstore.errors import InvalidInputError


class Runner(Protocol):
    """Where a model is: in this process, or in one of its own."""

    @property
    def model(self) -> Any: ...

    @property
    def processor(self) -> Any: ...

    @property
    def device(self) -> str: ...

    def call(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any: ...

    def process(self, data: Any, batch_size: int) -> Any: ...

    def move(self, device: str) -> None: ...

    def close(self) -> None: ...


class LoadedModel:
    """A model that can be run. Unload it with `close`, or use it with ``with``.

    ``version`` is what was loaded (NAME@ID), ``loader`` the name of what loaded it.
    """

    def __init__(self, runner: Runner, *, loader: str, version: str, batch_size: int) -> None:
        self.loader = loader
        self.version = version
        self._batch_size = checked_batch_size(batch_size)
        self._runner: Runner | None = runner

    @property
    def runner(self) -> Runner:
        """Where the model is, for what works on handles."""
        return self._open()

    @property
    def model(self) -> Any:
        """The library's own object, such as a torch module or an onnxruntime session."""
        return self._open().model

    @property
    def batch_size(self) -> int:
        """How many items `process_batch` takes at a time unless it is told."""
        return self._batch_size

    @property
    def device(self) -> str:
        """Where it is: ``cpu``, ``cuda:0``, …"""
        return self._open().device

    @property
    def processor(self) -> Any:
        """What makes the model's inputs of text, images or sound, such as its tokenizer; None where there is none."""
        return self._open().processor

    @property
    def closed(self) -> bool:
        """Whether it is unloaded."""
        return self._runner is None

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Run the model once, as its library would."""
        runner = self._open()
        return self._guarded(lambda: runner.call(arguments, keywords))

    def process_batch(self, data: Any, batch_size: int | None = None) -> Any:
        """Run the model on a list or array, ``batch_size`` items at a time; the results are in the data's order.

        Raises InvalidInputError, NotLoadableError.
        """
        runner = self._open()
        size = self._batch_size if batch_size is None else checked_batch_size(batch_size)
        return self._guarded(lambda: runner.process(data, size))

    def to(self, device: str) -> Self:
        """Bring the model to another device. Raises DeviceError."""
        runner = self._open()
        self._guarded(lambda: runner.move(device))
        return self

    def close(self) -> None:
        """Unload it: its memory is given back, as far as nothing else holds ``model``. May be done twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()

    unload = close

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "unloaded" if self._runner is None else f"on {self._runner.device}"
        return f"<{type(self).__name__} {self.version} by {self.loader}, {state}>"

    def _open(self) -> Runner:
        if self._runner is None:
            raise UnloadedError(self.version)
        return self._runner

    def _guarded(self, work: Any) -> Any:
        try:
            return work()
        except WorkerDiedError:
            self.close()
            raise


def checked_batch_size(size: int) -> int:
    """The size, if it can be one. Raises InvalidInputError."""
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InvalidInputError(f"{size!r} is no size of a batch", remedy="use a whole number from 1 on")
    return size
