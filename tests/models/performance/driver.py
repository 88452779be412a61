"""A stand-in for NVIDIA's driver and its library: no machine that runs these tests has a GPU."""

# ruff: noqa: N802 (the functions of NVIDIA)

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

MIB = 1 << 20


class FakeNvml:
    """Two GPUs of 100 MiB, 30 of it in use; process 7 holds 10 on the second one."""

    class NVMLError(Exception):
        pass

    open = 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        if number > 1:
            raise self.NVMLError("invalid argument")
        return number

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return {"GPU-one": 1}[uuid]

    def nvmlDeviceGetIndex(self, handle: int) -> int:
        return handle

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"GPU {handle}"

    def nvmlDeviceGetMemoryInfo(self, _: int) -> SimpleNamespace:
        return SimpleNamespace(used=30 * MIB, total=100 * MIB, free=70 * MIB)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=40 + handle, memory=5)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=7, usedGpuMemory=10 * MIB)] if handle == 1 else []


def install(monkeypatch: pytest.MonkeyPatch, driver: object) -> None:
    """Let the library be this; None: it is not installed. Torch, which would be asked first, has no GPU here."""
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
