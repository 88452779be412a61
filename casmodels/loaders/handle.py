"""The handle to a loaded model."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from casmodels.errors import BrokenLoaderError, UnloadedError
from casmodels.loaders.batches import length
from casmodels.loaders.call_log import log_call, log_summary
from casmodels.loaders.evaluation import Metric, check_lengths, score
from casmodels.performance.calls import Call, Calls
from casmodels.performance.metrics import ModelMetrics, measured
from casstore.errors import InvalidInputError

if TYPE_CHECKING:
    from casmodels.log_files import LogFiles


class Runner(Protocol):
    """Where a model is: in this process, or in one of its own."""

    @property
    def model(self) -> Any: ...

    @property
    def processor(self) -> Any: ...

    @property
    def device(self) -> str: ...

    @property
    def worker_id(self) -> int | None: ...

    @property
    def ended(self) -> bool: ...

    def call(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any: ...

    def process(self, data: Any, batch_size: int) -> Any: ...

    def example(self, items: int) -> Any: ...

    def move(self, device: str) -> None: ...

    def close(self) -> None: ...


class LoadedModel:
    """A model that can be run. Unload it with `close`, or use it with ``with``.

    ``version`` is what was loaded (NAME@ID), ``loader`` the name of what loaded it. ``logs`` are told of each call, and
    get a summary when it is closed.
    """

    def __init__(
        self, runner: Runner, *, loader: str, version: str, batch_size: int, logs: LogFiles | None = None
    ) -> None:
        self.loader = loader
        self.version = version
        self._batch_size = checked_batch_size(batch_size)
        self._runner: Runner | None = runner
        self._device = runner.device
        self._worker_id = runner.worker_id
        self.logs = logs
        self._calls = Calls()
        self._accuracy: float | None = None

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

    @property
    def metrics(self) -> ModelMetrics:
        """What it has done up to now, and what it holds at this moment; also when it is unloaded."""
        return measured(
            self._calls,
            version=self.version,
            loader=self.loader,
            device=self._device,
            worker_id=self._worker_id,
            accuracy=self._accuracy,
        )

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Run the model once, as its library would."""
        runner = self._open()
        return self._guarded(lambda: self._counted("call", 1, lambda: runner.call(arguments, keywords)))

    def process_batch(self, data: Any, batch_size: int | None = None) -> Any:
        """Run the model on a list or array, ``batch_size`` items at a time; the results are in the data's order.

        Raises InvalidInputError, NotLoadableError.
        """
        runner = self._open()
        size = self._batch_size if batch_size is None else checked_batch_size(batch_size)
        return self._guarded(lambda: self._counted("process_batch", _items(data), lambda: runner.process(data, size)))

    def example(self, items: int) -> Any:
        """A batch of so many items to try it with: sentences for a model of text, zeros where its inputs are declared.

        Raises NotLoadableError where nothing says what the model takes.
        """
        runner = self._open()
        return self._guarded(lambda: runner.example(checked_batch_size(items)))

    def evaluate(self, data: Any, expected: Any, *, metric: Metric, batch_size: int | None = None) -> float:
        """Run the model on data, and give what ``metric(results, expected)`` says: how right the results are.

        `metrics` has it as ``accuracy``. Raises as `process_batch`, MetricError when the metric raises or gives no
        number, InvalidInputError unless ``data`` and ``expected`` are as long.
        """
        check_lengths(data, expected)
        self._accuracy = score(self.process_batch(data, batch_size), expected, metric)
        return self._accuracy

    def to(self, device: str) -> Self:
        """Bring the model to another device. Raises DeviceError."""
        runner = self._open()
        self._guarded(lambda: runner.move(device))
        self._device = runner.device
        return self

    def close(self) -> None:
        """Unload it: its memory is given back, as far as nothing else holds ``model``. May be done twice.

        Raises BrokenLoaderError where another package's loader fails at it, when all is given back that can be.
        """
        runner, self._runner = self._runner, None
        if runner is None:
            return
        try:
            if self.logs is not None:
                log_summary(self.logs, self.metrics)
        finally:
            self._worker_id = None  # another process may get that id
            runner.close()

    unload = close

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except BrokenLoaderError:
            if error is None:  # else that one says more
                raise

    def __repr__(self) -> str:
        state = "unloaded" if self._runner is None else f"on {self._runner.device}"
        return f"<{type(self).__name__} {self.version} by {self.loader}, {state}>"

    def _open(self) -> Runner:
        if self._runner is None:
            raise UnloadedError(self.version)
        return self._runner

    def _counted(self, kind: str, items: int, work: Callable[[], Any]) -> Any:
        call, error = Call(items), None
        try:
            with self._calls.counting(call):
                return work()
        except BaseException as raised:
            error = raised
            raise
        finally:
            if self.logs is not None:
                log_call(self.logs, self, kind, call, error)

    def _guarded(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except BaseException:
            if self._runner is not None and self._runner.ended:
                self.close()
            raise


def _items(data: Any) -> int:
    """How many items there are; none in what is no data, which the runner is about to refuse."""
    try:
        return length(data)
    except InvalidInputError:
        return 0


def checked_batch_size(size: int) -> int:
    """The size, if it can be one. Raises InvalidInputError."""
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InvalidInputError(f"{size!r} is no size of a batch", remedy="use a whole number from 1 on")
    return size
