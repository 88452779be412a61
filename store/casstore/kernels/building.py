"""From a loop's source to an object that needs nothing but itself: Numba compiles, LLVM writes it out.

Numba's functions take an array as seven values (the owner of its memory and its parent, the counts of items and of
their bytes, its address, its shape and its strides), and a place each for what they return and raise. An entry in
front of each loop takes less: see `native`.
"""

from __future__ import annotations

import re
from typing import Any, Final

import llvmlite.binding as llvm
import numba

from casstore.kernels.compiled import Loop
from casstore.kernels.native import target_machine

_LIBRARY: Final = {"memset", "memcpy", "memmove"}
"""What an object may want from the process."""

_RELEASE: Final = re.compile(r"^declare void @NRT_MemInfo_call_dtor\(ptr[^)]*\).*$", re.MULTILINE)
_NO_RELEASE: Final = "define internal void @NRT_MemInfo_call_dtor(ptr %owner) { ret void }"
"""What gives memory back that nobody refers to any more. Arrays that are given to a loop have no owner, and a loop that
takes memory itself is refused, so this is never called."""


class NotSelfContainedError(Exception):
    """A loop needs something of Numba's while it runs: memory, say, or an exception."""


def build(entry: str, loop: Loop) -> bytes:
    """The object of a loop, with an entry of that name. Raises whatever Numba does, and NotSelfContainedError."""
    parameters = [_type(parameter) for parameter in loop.parameters]
    signature = _type(loop.result)(*parameters)
    compiled = numba.njit([signature], nogil=True, error_model="numpy")(loop.source)
    text = _RELEASE.sub(_NO_RELEASE, compiled.inspect_llvm(signature.args))
    module = llvm.parse_assembly(text)
    (inner,) = (
        function
        for function in module.functions
        if not function.is_declaration and re.match(r"_ZN(?!7cpython)", function.name)
    )
    module = llvm.parse_assembly(text + _entry(entry, inner.name, loop))
    for function in module.functions:
        if not function.is_declaration and function.name != entry:
            function.linkage = "internal"
    machine = target_machine()
    _optimize(module, machine)
    wanted = {function.name for function in module.functions if function.is_declaration}
    wanted = {function for function in wanted if not function.startswith("llvm.")} - _LIBRARY
    if wanted:
        raise NotSelfContainedError(f"it needs {', '.join(sorted(wanted))}")
    machine_code: bytes = machine.emit_object(module)
    return machine_code


def _optimize(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    """The loop goes into its entry, and what Numba made for Python's callers goes away."""
    options = llvm.create_pipeline_tuning_options(3)
    options.loop_vectorization = True
    options.slp_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)


def _entry(entry: str, inner: str, loop: Loop) -> str:
    """LLVM's assembly of a function that takes all arguments from an array of 64-bit values.

    It wants a function that is not there if the loop raises: where that cannot be, the optimizer takes it out.
    """
    lines = ["declare void @raises()", f"define i64 @{entry}(ptr %values) {{"]
    arguments = ["ptr %result", "ptr %raised"]
    lines += ["%result = alloca i64", "store i64 0, ptr %result", "%raised = alloca ptr"]
    place = 0
    for number, parameter in enumerate(loop.parameters):
        is_array = parameter.endswith("[]")
        for part in ("address", "length") if is_array else ("value",):
            kind = "ptr" if part == "address" else "i64"
            lines.append(f"%at{place} = getelementptr i64, ptr %values, i64 {place}")
            lines.append(f"%{part}{number} = load {kind}, ptr %at{place}")
            place += 1
        if is_array:
            length, width = f"i64 %length{number}", f"i64 {_type(parameter).dtype.bitwidth // 8}"
            arguments += ["ptr null", "ptr null", length, width, f"ptr %address{number}", length, width]
        else:
            arguments.append(f"i64 %value{number}")
    lines.append(f'%status = call i32 @"{inner}"({", ".join(arguments)})')
    lines += ["%is_bad = icmp ne i32 %status, 0", "br i1 %is_bad, label %bad, label %good"]
    lines += ["bad:", "call void @raises()", "unreachable"]
    lines += ["good:", "%returned = load i64, ptr %result", "ret i64 %returned", "}"]
    return "\n".join(["", *lines, ""])


def _type(text: str) -> Any:
    item = getattr(numba.types, text.removeprefix("const ").removesuffix("[]"))
    return numba.types.Array(item, 1, "C", readonly=text.startswith("const ")) if text.endswith("[]") else item
