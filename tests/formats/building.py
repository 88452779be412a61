"""Tiny model files, built in code: safetensors, and torch archives without torch."""

from __future__ import annotations

import contextlib
import io
import json
import math
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from casmodels.formats import find_spans
from casstore.chunkers.spans import Span


@dataclass
class BytesSource:
    """Bytes as a file; it counts what is read, and may claim more bytes than it has."""

    data: bytes
    claimed_bytes: int | None = None
    read_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        return len(self.data) if self.claimed_bytes is None else self.claimed_bytes

    def read_at(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length >= 0
        self.read_bytes += length
        return self.data[offset : offset + length]


def spans_of(data: bytes) -> list[Span]:
    """The file's spans, after a check of what every caller may rely on."""
    spans = list(find_spans("a file", BytesSource(data)))
    position = 0
    for span in spans:
        assert span.offset >= position
        assert span.length > 0
        assert span.length % span.block_bytes == 0
        assert span.item_width == 0 or span.block_bytes % span.item_width == 0
        assert len(span.key) in (0, 8)
        position = span.offset + span.length
    assert position <= len(data)
    return spans


def with_header(header: bytes, data_bytes: int = 0) -> bytes:
    """A safetensors file of that header, then zeros."""
    return struct.pack("<Q", len(header)) + header + bytes(data_bytes)


def safetensors(tensors: Mapping[str, tuple[str, Sequence[int], int]], metadata: object = None) -> bytes:
    """A safetensors file; each tensor is given as (dtype, shape, length in bytes)."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    position = 0
    for name, (dtype, shape, length) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, position + length]}
        position += length
    encoded = json.dumps(header).encode()
    return with_header(encoded + b" " * (-len(encoded) % 8), position)


@dataclass(eq=False)
class FakeStorage:
    """A storage of torch's: its class's name, its key, its elements and how long its member is."""

    kind: str
    key: str
    count: int
    width: int = 4

    @property
    def length(self) -> int:
        return self.count * self.width


class FakeGlobal:
    """A class or a dtype of torch's, which a pickle names."""

    def __init__(self, module: str, name: str) -> None:
        self.__module__, self.__qualname__, self.__name__ = module, name, name

    def __reduce__(self) -> str:
        return self.__name__


@dataclass(eq=False)
class FakeTensor:
    """A tensor on a storage; strides default to rows first."""

    storage: FakeStorage
    shape: tuple[int, ...]
    offset: int = 0
    stride: tuple[int, ...] | None = None
    dtype: str | None = None
    parameter: bool = False

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        stride = self.stride
        if stride is None:
            stride = tuple(math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))
        arguments = (self.storage, self.offset, self.shape, stride, False, OrderedDict())
        if self.dtype is not None:
            return _rebuild("_rebuild_tensor_v3"), (*arguments, FakeGlobal("torch", self.dtype))
        if self.parameter:
            plain = FakeTensor(self.storage, self.shape, self.offset, self.stride)
            return _rebuild("_rebuild_parameter"), (plain, True, OrderedDict())
        return _rebuild("_rebuild_tensor_v2"), arguments


class Module:
    """A pickled torch.nn.Module, as far as a layout goes."""

    def __init__(self, parameters: dict[str, Any], modules: dict[str, Any] | None = None) -> None:
        self._parameters = OrderedDict(parameters)
        self._modules = OrderedDict(modules or {})


def _rebuild(name: str) -> Any:
    return getattr(sys.modules["torch._utils"], name)


@contextlib.contextmanager
def _pretended_torch() -> Iterator[None]:
    """Modules of torch's names, so that `pickle` finds by name what it writes."""
    modules = {name: types.ModuleType(name) for name in ("torch", "torch._utils", "torch.storage")}
    for name in ("_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter"):
        function = types.FunctionType((lambda *_: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(modules["torch._utils"], name, function)
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class _Pickler(pickle._Pickler):  # the one in Python: the other insists on real classes
    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, FakeStorage):
            module = "torch.storage" if value.kind == "UntypedStorage" else "torch"
            return ("storage", FakeGlobal(module, value.kind), value.key, "cpu", value.count)
        return None

    def save(self, obj: Any, save_persistent_id: bool = True) -> Any:
        if isinstance(obj, FakeGlobal):
            setattr(sys.modules[obj.__module__], obj.__name__, obj)
            return self.save_global(obj, obj.__name__)
        return super().save(obj, save_persistent_id)  # type: ignore[misc]


def torch_pickle(value: Any, protocol: int = 2) -> bytes:
    """What torch.save would write as data.pkl."""
    buffer = io.BytesIO()
    with _pretended_torch():
        _Pickler(buffer, protocol).dump(value)
    return buffer.getvalue()


@dataclass
class TorchFile:
    """The parts of a torch archive, to be changed before it is written."""

    value: Any
    storages: Sequence[FakeStorage]
    protocol: int = 2
    byteorder: bytes | None = b"little"
    root: str = "archive"
    zip64: bool = False
    compression: int = zipfile.ZIP_STORED
    extra_members: dict[str, bytes] = field(default_factory=dict)

    def build(self) -> bytes:
        members = {"data.pkl": torch_pickle(self.value, self.protocol)}
        if self.byteorder is not None:
            members["byteorder"] = self.byteorder
        members |= {f"data/{storage.key}": bytes(storage.length) for storage in self.storages}
        members |= {"version": b"3\n", **self.extra_members}
        return archive({f"{self.root}/{name}": data for name, data in members.items()}, self.compression, self.zip64)


def archive(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED, zip64: bool = False) -> bytes:
    """A zip archive whose members begin at multiples of 64 bytes, as torch writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in members.items():
            information = zipfile.ZipInfo(name)
            information.compress_type = compression
            start = buffer.tell() + 30 + len(name.encode()) + (20 if zip64 else 0) + 4
            information.extra = struct.pack("<2sH", b"FB", -start % 64) + bytes(-start % 64)
            with file.open(information, "w", force_zip64=zip64) as member:
                member.write(data)
    return buffer.getvalue()


def state_dict(**sizes: tuple[int, ...]) -> TorchFile:
    """A state dict of fp32 tensors, each with its own storage; a double underscore stands for a dot."""
    tensors: OrderedDict[str, FakeTensor] = OrderedDict()
    for number, (name, shape) in enumerate(sizes.items()):
        storage = FakeStorage("FloatStorage", str(number), math.prod(shape))
        tensors[name.replace("__", ".")] = FakeTensor(storage, shape)
    return TorchFile(tensors, [tensor.storage for tensor in tensors.values()])
