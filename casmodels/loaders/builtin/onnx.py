"""ONNX by onnxruntime, from bytes: neither the model nor its external data come to lie on a disk."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from posixpath import dirname, join, normpath
from typing import Any, Final

from casmodels.errors import DeviceError, NotLoadableError
from casmodels.extras import library
from casmodels.formats import DoubtError
from casmodels.loaders.devices import CPU
from casmodels.loaders.examples import zeros
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.stored_model import StoredModel
from casmodels.sources.weights import TORCH, format_of
from casstore.sources import BytesSource

_CUDA: Final = "CUDAExecutionProvider"
_OF_MEMORY: Final = "*/"
"""How onnxruntime's names for places in memory begin, which it takes instead of those of files."""

_TYPES: Final = {
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


class OnnxLoader:
    """An ``onnxruntime.InferenceSession``. It is called with its inputs by name, or with the one that it has, and gives
    its outputs by name, or the one that it has; as NumPy's arrays."""

    name = "onnx"
    copies = 2

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """The ``.onnx`` file, and the files beside it in which it may keep tensors."""
        found = model.only(model.ending(".onnx"))
        named = data_files(model, found)
        return [*found, *(path for path in model.sizes if path in named or any(_is_data(path, one) for one in found))]

    def devices(self) -> Sequence[str]:
        """One CUDA device where this onnxruntime can use any."""
        found = onnxruntime().get_available_providers()
        return ("cuda:0", CPU) if _CUDA in found else (CPU,)

    def load(self, model: StoredModel, request: Request, *, session_options: Any = None) -> Loaded:
        """``session_options`` are onnxruntime's."""
        runtime = onnxruntime()
        path = request.files[0]
        data = model.read(path)
        options = session_options if session_options is not None else runtime.SessionOptions()
        external = external_data(model, path, data)
        if external:
            options.add_external_initializers_from_files_in_memory(
                list(external), list(external.values()), [len(part) for part in external.values()]
            )
        loaded = loaded_session(data, request.device, options)
        # The user's own options point at the bytes of the other files from now on, so these must outlive them.
        given = (session_options, external if session_options is not None else None)
        loaded.again = lambda other: loaded_session(other, request.device, given[0])
        return loaded


def loaded_session(data: bytes, device: str, options: Any = None) -> Loaded:
    """A model from its bytes, with onnxruntime's options for the session. Raises DeviceError."""
    on_gpu = device != CPU
    providers = [_CUDA] if on_gpu else ["CPUExecutionProvider"]
    session = onnxruntime().InferenceSession(data, options, providers=providers)
    if on_gpu and _CUDA not in session.get_providers():
        raise DeviceError(f"onnxruntime cannot use {device}", remedy="see its log for what CUDA lacks, or use the CPU")
    running = _Running(session)
    return Loaded(session, running, example=running.example)


def onnxruntime(extra: str = "onnx") -> Any:
    """The library. Raises MissingExtraError."""
    no_reports()
    return library("onnxruntime", extra)


def no_reports() -> None:
    """Keep onnxruntime from reporting to its maker: it would send events, and leave an identifier on the disk."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when it is imported first


class _Running:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._kinds = {each.name: _TYPES.get(each.type) for each in session.get_inputs()}
        self._outputs = [each.name for each in session.get_outputs()]

    def __call__(self, inputs: Any) -> Any:
        if not isinstance(inputs, Mapping):
            if len(self._kinds) != 1:
                raise NotLoadableError(f"the model has {len(self._kinds)} inputs", remedy=self._advice())
            inputs = {next(iter(self._kinds)): inputs}
        unknown = [name for name in inputs if name not in self._kinds]
        if unknown:
            raise NotLoadableError(f"the model has no input {unknown[0]!r}", remedy=self._advice())
        found = self._session.run(None, {name: self._array(name, value) for name, value in inputs.items()})
        return found[0] if len(found) == 1 else dict(zip(self._outputs, found, strict=True))

    def example(self, items: int) -> Any:
        declared = {each.name: (each.shape, self._kinds[each.name]) for each in self._session.get_inputs()}
        return zeros(declared, items)

    def _array(self, name: str, value: Any) -> Any:
        """The numbers in the type that the model takes, where that is the same kind of number."""
        import numpy as np

        array, kind = np.asarray(value), self._kinds[name]
        return array.astype(kind, copy=False) if kind and np.can_cast(array.dtype, kind, "same_kind") else array

    def _advice(self) -> str:
        return f"give a dict of {', '.join(self._kinds)}"


def _is_data(path: str, file: str) -> bool:
    """Whether a file is called as exporters call that of an ``.onnx`` file's tensors: its name and ``data``."""
    return path != file and path.lower().startswith((file.lower() + "_data", file.lower() + ".data"))


def data_files(model: StoredModel, files: Sequence[str]) -> set[str]:
    """The files that these models keep tensors in and that are called as torch's weights are; a file that is no model
    keeps none. The models are read for it only where there is such a file."""
    from casmodels.formats.onnx_external import external_tensors

    possible = {path for path in model.sizes if format_of(path, model.sizes) == TORCH}
    found: set[str] = set()
    for path in files if possible else ():
        try:
            tensors = external_tensors(BytesSource(model.read(path)))
        except DoubtError:
            continue
        found.update(normpath(join(dirname(path), tensor.location)) for tensor in tensors)
    return found & possible


def external_data(model: StoredModel, path: str, data: bytes) -> dict[str, bytes]:
    """The files that the model keeps tensors in, by what it calls them.

    Raises NotLoadableError where one is not there, or where onnxruntime would look for it by itself: only what the
    graph's own initialisers are made of can be given to it.
    """
    from casmodels.formats.onnx_external import external_tensors

    try:
        tensors = external_tensors(BytesSource(data))
    except DoubtError as error:
        raise NotLoadableError(f"{model.called(path)} is no ONNX model: {error}") from error
    found: dict[str, bytes] = {}
    for tensor in tensors:
        if tensor.inner or tensor.location.startswith(_OF_MEMORY):
            raise NotLoadableError(
                f"{model.called(path)} keeps the tensor {tensor.name!r} of a subgraph, a function or a constant "
                f"in {tensor.location}, where onnxruntime can be given none from the store",
                remedy="save the model again with this tensor in it (onnx.save_model without external data)",
            )
        place = normpath(join(dirname(path), tensor.location))
        if place not in model.sizes:
            raise NotLoadableError(
                f"{model} has no {place}, in which {path} keeps tensors",
                remedy="`casmodels pull --all-files` brings all in",
            )
        if tensor.location not in found:
            found[tensor.location] = model.read(place)
    return found
