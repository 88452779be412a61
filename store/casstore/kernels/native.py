"""Machine code in this process: an object that was compiled before is linked, and its loop called.

LLVM does that without Numba, which takes a process 0.06 s and 51 MiB instead of 0.4 s and 110 MiB (ADR 022). For how
objects are made see `building`.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from casstore.kernels.compiled import Kernel, Loop

# An entry takes the address of its arguments, 64 bits each, of which an array takes two (its address and its length),
# and returns 64 bits. While it runs, ctypes lets other threads run.
_Entry = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p)


def target_machine() -> llvm.TargetMachine:
    """This processor, with all that it can do."""
    _initialize()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )


@cache
def described() -> str:
    """What objects depend on besides their source: this processor, and the compiler's release, Numba's with it."""
    features = llvm.get_host_cpu_features().flatten()
    return f"{llvmlite.__version__} {llvm.get_process_triple()} {llvm.get_host_cpu_name()} {features}"


def link(entry: str, loop: Loop, machine_code: bytes) -> Kernel:
    """The loop of an object, by its entry's name, to be called like its source. Not for several threads at once.

    It raises TypeError for arrays of another type than the loop's, with gaps, or that it may not write to.
    """
    engine = _engine()
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(machine_code))
    engine.finalize_object()
    return _Native(_Entry(engine.get_function_address(entry)), loop)


class _Native:
    def __init__(self, entry: Callable[[bytes], int], loop: Loop) -> None:
        self._entry = entry
        self._parameters = [(_array_type(parameter), parameter.startswith("const ")) for parameter in loop.parameters]
        arrays = sum(array is not None for array, _ in self._parameters)
        self._pack = struct.Struct(f"={len(loop.parameters) + arrays}q").pack

    def __call__(self, *arguments: Any) -> int:
        values: list[int] = []
        for argument, (item, is_const) in zip(arguments, self._parameters, strict=True):
            if item is None:
                values.append(argument)
                continue
            if argument.dtype != item or not argument.flags.c_contiguous:
                raise TypeError(f"the loop takes arrays of {item} without gaps")
            address, is_readonly = argument.__array_interface__["data"]
            if is_readonly and not is_const:
                raise TypeError("the loop writes to what is read-only")
            values += (address, argument.size)
        return self._entry(self._pack(*values))


def _array_type(parameter: str) -> np.dtype[Any] | None:
    return np.dtype(parameter.removeprefix("const ").removesuffix("[]")) if parameter.endswith("[]") else None


@cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@cache
def _engine() -> llvm.ExecutionEngine:
    """Holds what was linked, for as long as the process lives."""
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
