"""Quantising a loaded model, and the handle to what comes of it."""

from __future__ import annotations

from typing import Any

from casmodels import config
from casmodels.errors import NotQuantisableError
from casmodels.loaders import room
from casmodels.loaders.builtin.sentence_transformers import SentenceTransformersLoader, loaded_encoder
from casmodels.loaders.builtin.weights import WeightsLoader
from casmodels.loaders.devices import CPU
from casmodels.loaders.handle import LoadedModel, Runner
from casmodels.loaders.loader import Loaded, Loader
from casmodels.loaders.local import LocalRunner
from casmodels.loaders.torch_modules import loaded_module
from casmodels.log_files import LogFiles
from casmodels.quantising import graphs, modules
from casmodels.quantising.dtypes import FP16, HALVES, INT8, checked_dtype
from casmodels.quantising.saving import save
from casmodels.quantising.similarity import Similarity, compare
from casmodels.results.quantised import QuantiseResult
from casstore.errors import InvalidInputError

_GRAPH_COPIES = 4
"""How often an ONNX model lies in memory while it is quantised: as a graph, whole, quantised, and in its session."""


class QuantisedModel(LoadedModel):
    """A handle like that of the model that it was made from, which is ``original``; None if that was a bare module.

    ``version`` is what it was made from, ``dtype`` and ``method`` how.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        loader: str,
        version: str,
        batch_size: int,
        dtype: str,
        method: str,
        activations: bool,
        logs: LogFiles | None = None,
    ) -> None:
        super().__init__(runner, loader=loader, version=version, batch_size=batch_size, logs=logs)
        self.dtype = dtype
        self.method = method
        self.activations = activations
        self.original: LoadedModel | None = None

    def compare(self, sample: Any) -> Similarity:
        """Run both models on a sample, as `process_batch` takes it. The original must not be closed yet.

        Raises InvalidInputError, NotQuantisableError, UnloadedError.
        """
        if self.original is None:
            raise InvalidInputError(
                f"{self.version} was a bare module, with which nothing is compared",
                remedy="quantise the handle that load_model gives",
            )
        return compare(self.original, self, sample)

    def save(self, name: str, *, sample: Any = None, message: str = "") -> QuantiseResult:
        """Save it as a version of a name of the user's own, in the store that its original came from.

        With a sample, what `compare` says of it is noted. Raises what `compare` does, NameTakenError,
        InvalidInputError for what did not come from a store, NotFoundError, FullError.
        """
        return save(self, name, sample, message)


def quantize_model(
    model: Any, dtype: str = "int8", *, activations: bool = False, force: bool = False
) -> QuantisedModel:
    """Make a model in fewer bits: of a handle that `load_model` gave, or of a torch module.

    ``dtype`` is ``int8``, ``fp8``, ``fp16`` or ``bf16``; ONNX models have ``int8`` and ``fp16``. With ``activations``,
    torch multiplies in those 8 bits, too: faster, and less like the original. ONNX models always do. The original stays
    as it is, and what is not quantised in it lies in memory once, for both. ``force`` tries also what seems not to fit.

    Raises InvalidInputError for an unknown type, NotQuantisableError, MissingExtraError, NoRoomError, UnloadedError.
    """
    checked_dtype(dtype)
    if isinstance(model, LoadedModel):
        return _of_handle(model, dtype, activations=activations, force=force)
    if not modules.is_module(model):
        raise NotQuantisableError(
            f"a {type(model).__name__} cannot be quantised",
            remedy="give a torch module, or what load_model gives for one or for an ONNX model",
        )
    device = str(next((each.device for each in (*model.parameters(), *model.buffers())), CPU))
    made = _made(model, type(model).__name__, dtype, device, activations=activations, force=force)
    loader, loaded = _own(made, device)
    return QuantisedModel(
        LocalRunner(loader, loaded, device),
        loader=loader.name,
        version=type(model).__name__,
        batch_size=config.inference().batch_size,
        dtype=dtype,
        method=_method_of_module(dtype, activations=activations),
        activations=activations,
    )


def _of_handle(model: LoadedModel, dtype: str, *, activations: bool, force: bool) -> QuantisedModel:
    runner = model.runner
    if not isinstance(runner, LocalRunner):
        raise NotQuantisableError(
            f"{model.version} is in a process of its own",
            remedy="quantise it without isolated=True, save it, and load that with isolated=True",
        )
    if isinstance(model, QuantisedModel):
        raise NotQuantisableError(f"{model.version} is quantised already", remedy="quantise its .original")
    loaded, origin = runner.loaded, runner.origin
    if runner.loader.name == "onnx" and origin is not None and loaded.again is not None:
        if activations:
            raise NotQuantisableError(
                "activations=True is for torch modules", remedy="leave it out: ONNX models always do that in int8"
            )
        if not force:
            size = sum(origin.model.sizes[file] for file in origin.files)
            room.check(model.version, size, runner.device, _GRAPH_COPIES, "quantise")
        data = graphs.quantised_graph(origin.model, origin.files[0], dtype)
        made = loaded.again(data)
        made.source = data
        method = {INT8: "onnxruntime.quantize_dynamic, per channel", FP16: "onnxruntime.float16"}[dtype]
    elif loaded.again is not None and modules.is_module(loaded.model):
        module = _made(loaded.model, model.version, dtype, runner.device, activations=activations, force=force)
        made = loaded.again(module)
        method = _method_of_module(dtype, activations=activations)
    else:
        raise NotQuantisableError(
            f"what the loader {model.loader!r} loads cannot be quantised",
            remedy="a torch module or an ONNX model can; weights alone are loaded into one with into=",
        )
    small = QuantisedModel(
        LocalRunner(runner.loader, made, runner.device, origin),
        loader=model.loader,
        version=model.version,
        batch_size=model.batch_size,
        dtype=dtype,
        method=method,
        activations=activations,
        logs=model.logs,
    )
    small.original = model
    return small


def _made(module: Any, what: str, dtype: str, device: str, *, activations: bool, force: bool) -> Any:
    if activations and dtype in HALVES:
        raise InvalidInputError(f"activations=True is for 8 bits, not for {dtype}", remedy="leave it out")
    modules.check_initialised(module, what)
    if not force:
        # What comes to lie beside the original has half its bits at most.
        room.check(what, modules.weights_bytes(module) // 2, device, 0 if device != CPU else 1, "quantise")
    return modules.quantised_module(module, what, dtype, activations=activations)


def _method_of_module(dtype: str, *, activations: bool) -> str:
    if dtype in HALVES:
        return f"torch.{HALVES[dtype]}"
    return f"torchao.{type(modules.torchao_config(dtype, activations=activations)).__name__}"


def _own(module: Any, device: str) -> tuple[Loader, Loaded]:
    """What runs a module that no loader loaded."""
    if modules.is_sentence_transformer(module):
        return SentenceTransformersLoader(), loaded_encoder(module)
    return WeightsLoader(), loaded_module(module, device)
