"""Faults: hooks for the seam (`casstore.files`) that record, fail or kill at any single call that changes the disk."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from casstore import files
from casstore.buffers import Buffer
from casstore.files import Hook


@contextlib.contextmanager
def hooked(hook: Hook) -> Iterator[None]:
    """Run with a hook in the seam."""
    before = files.set_hook(hook)
    try:
        yield
    finally:
        files.set_hook(before)


@dataclass(slots=True)
class Recording:
    """Remembers the calls: pairs of operation and path."""

    calls: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, operation: str, path: str) -> None:
        self.calls.append((operation, path))


@dataclass(slots=True)
class Failing:
    """Raises an OSError of that number before calls that match, the first ``skip`` of them left alone.

    ``times`` is how many fail, None for all of them: a disk that is full stays full.
    """

    number: int
    operation: str | None = None
    path_part: str = ""
    skip: int = 0
    times: int | None = None
    failed: int = 0

    def __call__(self, operation: str, path: str) -> None:
        if self.operation not in (None, operation) or self.path_part not in path:
            return
        if self.skip:
            self.skip -= 1
        elif self.times is None or self.failed < self.times:
            self.failed += 1
            raise OSError(self.number, os.strerror(self.number), path)


@dataclass(slots=True)
class Killing:
    """Ends the process with SIGKILL before call number ``at`` (0 is the first)."""

    at: int
    seen: int = 0

    def __call__(self, _operation: str, _path: str) -> None:
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += 1


@dataclass(slots=True)
class ShortWrites:
    """A context in which call number ``at`` (0 is the first) of those that write takes no more than half."""

    at: int
    seen: int = 0
    _real: tuple[Any, ...] = ()

    def __enter__(self) -> ShortWrites:
        self._real = (os.write, os.writev, os.copy_file_range)
        os.write, os.writev, os.copy_file_range = self._write, self._writev, self._copy  # type: ignore[assignment]
        return self

    def __exit__(self, *_error: object) -> None:
        os.write, os.writev, os.copy_file_range = self._real

    def _is_hit(self) -> bool:
        self.seen += 1
        return self.seen == self.at + 1

    def _write(self, descriptor: int, data: Buffer) -> int:
        return self._write_half(descriptor, data) if self._is_hit() else int(self._real[0](descriptor, data))

    def _write_half(self, descriptor: int, data: Buffer) -> int:
        return int(self._real[0](descriptor, memoryview(data)[: len(data) // 2]))

    def _writev(self, descriptor: int, parts: Sequence[Buffer]) -> int:
        if self._is_hit():
            return self._write_half(descriptor, parts[0])
        return int(self._real[1](descriptor, parts))

    def _copy(self, source: int, descriptor: int, length: int, *offsets: int) -> int:
        return int(self._real[2](source, descriptor, max(length // 2, 1) if self._is_hit() else length, *offsets))
