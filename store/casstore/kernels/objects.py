"""Where objects are kept between processes: beside the source's bytecode, or where users keep caches.

A file is the object and its BLAKE3; LLVM takes no other care, and would end the process over a damaged one.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from blake3 import blake3

from casstore.kernels import native
from casstore.kernels.compiled import Kernel, Loop

_DIGEST_BYTES: Final = 32


def load(name: str, loop: Loop) -> Kernel:
    """The loop as machine code, compiled and kept if it was not. Raises whatever stands in the way."""
    entry = f"casstore_{name}_{_key(loop)}"
    file_name = f"{entry}.object"
    machine_code = _kept(file_name)
    if machine_code is None:
        from casstore.kernels.building import build  # it loads Numba

        machine_code = build(entry, loop)
        _keep(file_name, machine_code)
    return native.link(entry, loop, machine_code)


def _key(loop: Loop) -> str:
    """Of all that an object depends on."""
    sources = _digest_of_sources(loop.source.__code__.co_filename)
    return blake3(f"{native.described()}\n{sources}\n{loop.parameters}\n{loop.result}".encode()).hexdigest(16)


@cache
def _digest_of_sources(file: str) -> str:
    """Of the file that a loop is in, and of those that it may take constants from."""
    hasher = blake3()
    for source in sorted({*Path(__file__).parent.glob("*.py"), Path(file)}):
        hasher.update(source.read_bytes())
    return hasher.hexdigest()


def _places() -> Iterator[Path]:
    yield Path(__file__).parent / "__pycache__"
    from platformdirs import user_cache_path

    yield user_cache_path("casmodels") / "kernels"


def _kept(file_name: str) -> bytes | None:
    for place in _places():
        with contextlib.suppress(OSError):
            data = (place / file_name).read_bytes()
            if data[:_DIGEST_BYTES] == blake3(data[_DIGEST_BYTES:]).digest():
                return data[_DIGEST_BYTES:]
    return None


def _keep(file_name: str, machine_code: bytes) -> None:
    """In the first place that can be written to; a process without one compiles for itself."""
    for place in _places():
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=place, prefix=file_name)
            temporary = Path(name)
            try:
                with open(descriptor, "wb") as file:
                    file.write(blake3(machine_code).digest() + machine_code)
                temporary.replace(place / file_name)
            except BaseException:
                temporary.unlink()
                raise
            return
