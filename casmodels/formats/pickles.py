"""What a pickle would build, found without building it.

`pickletools.genops` splits the bytes into operations; the machine here does what they say with plain records
in the place of objects. Nothing is imported, called, hashed or copied, so a hostile pickle can do no more than take
its share of the caps below. torch's own ways to write a tensor are understood (torch/_utils.py and
torch/serialization.py of torch 2 were the source); any other call becomes a `Made` that keeps its parts.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from casmodels.formats.layout import MAX_DIMENSIONS, MAX_TENSORS, DoubtError

MAX_PICKLE_BYTES: Final = 32 << 20
MAX_OPERATIONS: Final = 2_000_000
"""A tensor takes some 40. With the cap on bytes it bounds time to some seconds and memory to some 250 MB."""

Value: TypeAlias = Any
"""A str, int, float, bool or None, a list or tuple of values, or a record of this module."""


@dataclass(frozen=True, slots=True)
class Global:
    """Something imported, by name."""

    module: str
    name: str


@dataclass(slots=True)
class Table:
    """A dict. Keys are kept as they come, for a hash could be made to collide."""

    pairs: list[tuple[Value, Value]] = field(default_factory=list)


@dataclass(slots=True)
class Made:
    """What some unknown callable gives: its arguments, and the state set afterwards. ``maker`` is its name, if any."""

    parts: list[Value]
    maker: Global | None = None


@dataclass(frozen=True, slots=True)
class Storage:
    """A persistent id of torch: ``count`` elements (bytes, if untyped) under a key."""

    kind: Global
    key: str
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A view of a storage; offset, shape and stride count elements. ``dtype`` is set for untyped storages.

    ``is_plain`` says that the values are what the storage holds: not their conjugates or negatives, not quantised.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: Global | None = None
    is_plain: bool = True


@dataclass(frozen=True, slots=True)
class Unpickled:
    """The root value, and every tensor in the order in which they were made."""

    root: Value
    tensors: list[Tensor]


class _Mark:
    pass


_MARK: Final = _Mark()
_REBUILD: Final = {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor"}
_METADATA_AT: Final = {"_rebuild_tensor_v2": 6, "_rebuild_tensor_v3": 7}
"""Which argument tells of conjugates and negatives, where there is any."""
_PARAMETER: Final = {"_rebuild_parameter", "_rebuild_parameter_with_state"}


def read_pickle(data: bytes) -> Unpickled:
    """Follow the first pickle in these bytes; raises DoubtError or ValueError where that cannot be done."""
    machine = _Machine()
    for count, (operation, argument, _) in enumerate(pickletools.genops(data)):
        if count >= MAX_OPERATIONS:
            raise DoubtError("a pickle of too many operations")
        if operation.name == "STOP":
            return Unpickled(machine.pop(), machine.tensors)
        act = _ACTIONS.get(operation.name)
        if act is None:
            raise DoubtError(f"a pickle with the operation {operation.name}")
        act(machine, argument)
    raise DoubtError("a pickle without an end")


class _Machine:
    """The stack, the memo and what they lead to."""

    def __init__(self) -> None:
        self.stack: list[Value] = []
        self.memo: dict[int, Value] = {}
        self.tensors: list[Tensor] = []

    def push(self, value: Value) -> None:
        self.stack.append(value)

    def pop(self) -> Value:
        value = self.stack.pop()
        if value is _MARK:
            raise DoubtError("a mark in the place of a value")
        return value

    def top(self) -> Value:
        if self.stack[-1] is _MARK:
            raise DoubtError("a mark in the place of a value")
        return self.stack[-1]

    def pop_to_mark(self) -> list[Value]:
        items: list[Value] = []
        while (value := self.stack.pop()) is not _MARK:
            items.append(value)
        items.reverse()
        return items

    def remember(self, place: int) -> None:
        self.memo[place] = self.top()

    def append(self, items: list[Value]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, Made):
            target.parts.extend(items)
        else:
            raise DoubtError("items for what is no list")

    def set_items(self, items: list[Value]) -> None:
        if len(items) % 2:
            raise DoubtError("a key without a value")
        target = self.top()
        pairs = list(zip(items[::2], items[1::2], strict=True))
        if isinstance(target, Table):
            target.pairs.extend(pairs)
        elif isinstance(target, Made):
            target.parts.append(Table(pairs))
        else:
            raise DoubtError("items for what is no dict")

    def build(self) -> None:
        state = self.pop()
        if isinstance(target := self.top(), Made):
            target.parts.append(state)

    def call(self, function: Value, arguments: Value) -> Value:
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            return Made([function, arguments])
        if function.module == "torch._utils" and function.name in _REBUILD:
            return self.tensor(function.name, arguments)
        if function.module == "torch._utils" and function.name in _PARAMETER and arguments:
            return arguments[0]
        if (function.module, function.name) == ("torch._tensor", "_rebuild_from_type_v2") and len(arguments) >= 3:
            return self.call(arguments[0], arguments[2])
        if (function.module, function.name) == ("collections", "OrderedDict") and not arguments:
            return Table()
        return Made([arguments], function)

    def tensor(self, function: str, arguments: tuple[Value, ...]) -> Value:
        storage, offset, shape, stride = arguments[:4]
        dtype = arguments[6] if function == "_rebuild_tensor_v3" and len(arguments) > 6 else None
        if not isinstance(storage, Storage) or not all(map(_are_sizes, ((offset,), shape, stride))):
            return Made([arguments], Global("torch._utils", function))
        if len(self.tensors) >= MAX_TENSORS:
            raise DoubtError("too many tensors")
        dtype = dtype if isinstance(dtype, Global) else None
        made = Tensor(storage, offset, shape, stride, dtype, _is_plain(function, arguments))
        self.tensors.append(made)
        return made

    def persistent(self, pid: Value) -> Value:
        match pid:
            case ("storage", Global() as kind, str() as key, _, int() as count, *_) if count >= 0:
                return Storage(kind, key, count)
        return Made([pid])


def _is_plain(function: str, arguments: tuple[Value, ...]) -> bool:
    """Whether no metadata says that the numbers stand for others."""
    place = _METADATA_AT.get(function)
    if place is None or len(arguments) <= place:
        return function != "_rebuild_qtensor"
    metadata = arguments[place]
    return not metadata.pairs if isinstance(metadata, Table) else not metadata


def _are_sizes(values: Value) -> bool:
    """Whether these are as many whole numbers as a tensor may have dimensions, of at most 63 bits each."""
    if not isinstance(values, tuple) or len(values) > MAX_DIMENSIONS:
        return False
    return all(type(value) is int and 0 <= value < 1 << 63 for value in values)


def _stack_global(machine: _Machine, _: object) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise DoubtError("a global without a name")
    machine.push(Global(module, name))


def _reduce(machine: _Machine, _: object) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.push(machine.call(function, arguments))


def _new_object_with_keywords(machine: _Machine, _: object) -> None:
    keywords, arguments, _class = machine.pop(), machine.pop(), machine.pop()
    machine.push(Made([arguments, keywords]))


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def act(machine: _Machine, _: object) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(items)))

    return act


def _constant(value: Value) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(value)


def _set_item(machine: _Machine, _: object) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


def _new_table(machine: _Machine, _: object) -> None:
    items = machine.pop_to_mark()
    machine.push(Table())
    machine.set_items(items)


def _drop_to_mark(machine: _Machine, _: object) -> None:
    machine.pop_to_mark()


def _ignore(machine: _Machine, _: object) -> None:
    """Framing: the operation says nothing about values."""


_ACTIONS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    **dict.fromkeys(("PROTO", "FRAME"), _ignore),
    **dict.fromkeys(
        (
            *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
            *("STRING", "BINSTRING", "SHORT_BINSTRING"),
            *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        ),
        lambda machine, argument: machine.push(argument),
    ),
    # Plain bytes say nothing about a layout, so they are not kept.
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _constant(None)),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "MARK": _constant(_MARK),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": _drop_to_mark,
    "DUP": lambda machine, _: machine.push(machine.top()),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda machine, place: machine.remember(place)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, place: machine.push(machine.memo[place])),
    "EMPTY_TUPLE": _constant(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET"), lambda machine, _: machine.push([])),
    **dict.fromkeys(("LIST", "FROZENSET"), lambda machine, _: machine.push(machine.pop_to_mark())),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: machine.append(machine.pop_to_mark())),
    "EMPTY_DICT": lambda machine, _: machine.push(Table()),
    "DICT": _new_table,
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GLOBAL": lambda machine, names: machine.push(Global(*names.split(" ", 1))),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _new_object_with_keywords,
    **dict.fromkeys(("INST", "OBJ"), lambda machine, _: machine.push(Made(machine.pop_to_mark()))),
    "BUILD": lambda machine, _: machine.build(),
    "PERSID": lambda machine, pid: machine.push(Made([pid])),
    "BINPERSID": lambda machine, _: machine.push(machine.persistent(machine.pop())),
}
