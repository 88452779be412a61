"""ONNX models: by onnxruntime's dynamic quantisation, each channel by itself, or in half the bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final

from casmodels.errors import NotQuantisableError
from casmodels.extras import first_line, hushed, library
from casmodels.loaders.builtin.onnx import external_data, onnxruntime
from casmodels.loaders.stored_model import StoredModel
from casmodels.quantising.dtypes import FP16, INT8
from casmodels.runtime.memory_directories import memory_directory
from casstore import files
from casstore.errors import StoreError

EXTRA: Final = "quantise-onnx"
_MAX_BYTES: Final = (1 << 31) - 1
_QUANTISED: Final = ("DynamicQuantize", "DequantizeLinear", "MatMulInteger", "ConvInteger", "QLinear", "MatMulNBits")


def quantised_graph(model: StoredModel, path: str, dtype: str) -> bytes:
    """The ONNX file of a version in fewer bits, with all its tensors in it. What onnxruntime writes on the way lies in
    a temporary directory.

    Raises NotQuantisableError, MissingExtraError.
    """
    onnx = library("onnx", EXTRA)
    if dtype not in (INT8, FP16):
        raise NotQuantisableError(
            f"onnxruntime cannot quantise a model to {dtype}", remedy=f"use {INT8} or {FP16}, or a torch module"
        )
    try:
        graph = _whole(onnx, model, path)
        if any(node.op_type.startswith(_QUANTISED) for node in graph.graph.node):
            raise NotQuantisableError(
                f"{model.called(path)} is quantised already", remedy="quantise the model that it was made from"
            )
        before = graph.SerializeToString(deterministic=True)
        made = _dynamic(onnx, graph) if dtype == INT8 else _halved(onnx, graph, model.called(path))
        data: bytes = made.SerializeToString(deterministic=True)
    except (StoreError, MemoryError):
        raise
    except OSError as error:
        known = files.explain(error, Path(model.called(path)))
        raise known if known is not None else error from error
    except Exception as error:  # protobuf's, onnx's and onnxruntime's own
        raise NotQuantisableError(
            f"onnxruntime cannot quantise {model.called(path)} to {dtype}: {first_line(error)}",
            remedy="use another type, or the model that the file was exported from",
        ) from error
    if len(data) >= len(before):
        raise NotQuantisableError(
            f"{model.called(path)} has no weights that would be smaller in {dtype}", remedy="use the model as it is"
        )
    return data


def _whole(onnx: Any, model: StoredModel, path: str) -> Any:
    """The graph, with the tensors in it that it keeps in other files."""
    data = model.read(path)
    graph = onnx.load_model_from_string(data)
    others = external_data(model, path, data)
    if sum(map(len, (data, *others.values()))) > _MAX_BYTES:
        raise NotQuantisableError(
            f"{model.called(path)} is larger than the 2 GiB that one ONNX file can hold", remedy="use a torch module"
        )
    for tensor in graph.graph.initializer:
        if onnx.external_data_helper.uses_external_data(tensor):
            info = onnx.external_data_helper.ExternalDataInfo(tensor)
            part = memoryview(others[info.location])[info.offset or 0 :]
            tensor.raw_data = bytes(part[: info.length] if info.length is not None else part)
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    return graph


def _dynamic(onnx: Any, graph: Any) -> Any:
    onnxruntime(EXTRA)
    quantization = library("onnxruntime.quantization", EXTRA)
    with files.translated(gettempdir()), memory_directory() as directory, hushed(""):
        path = directory / "model.onnx"
        quantization.quantize_dynamic(graph, path, per_channel=True)
        return onnx.load_model(path)


def _halved(onnx: Any, graph: Any, called: str) -> Any:
    """Inputs and outputs stay of the type that they are of."""
    onnxruntime(EXTRA)
    convert = library("onnxruntime.transformers.float16", EXTRA).convert_float_to_float16
    for name, tensor in _tensors(graph.graph):
        if tensor.data_type == onnx.TensorProto.FLOAT and _is_too_large(onnx.numpy_helper.to_array(tensor)):
            raise NotQuantisableError(
                f"{name} of {called} has numbers that are too large for fp16",
                remedy=f"use {INT8}, or the model as it is",
            )
    return convert(graph, keep_io_types=True)


def _tensors(graph: Any) -> Iterator[tuple[str, Any]]:
    """The tensors by name, those of constants and of graphs in the graph too."""
    yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            yield from ((", ".join(node.output), tensor) for tensor in (attribute.t, *attribute.tensors))
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _is_too_large(array: Any) -> bool:
    """Whether onnxruntime would cut numbers down to the largest of fp16. It may do so with the largest of fp32, by
    which exporters mean infinity, as in masks."""
    import numpy as np

    with np.errstate(over="ignore"):
        infinite = np.isinf(array.astype("float16"))
    return bool((infinite & (np.abs(array) < np.finfo("float32").max)).any())
