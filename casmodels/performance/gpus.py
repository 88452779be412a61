"""What NVIDIA's driver says of GPUs, through nvidia-ml-py (the extra ``gpu``)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One GPU. ``use_percent``, ``used_bytes`` and ``total_bytes`` are of all programs together.

    ``process_bytes`` is what the process holds that was asked about; None where the driver does not say, as in many
    containers.
    """

    number: int
    name: str
    use_percent: int
    used_bytes: int
    total_bytes: int
    process_bytes: int | None = None


def gpu_use(device: str, process_id: int) -> GpuUse | None:
    """The GPU that ``cuda:N`` is, and what a process holds there. None for other devices, and where nobody can tell."""
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return None
    with _driver() as nvml, suppress(nvml.NVMLError):
        handle = _handle(nvml, int(number or 0))
        held = {each.pid: each.usedGpuMemory for each in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
        return _use(nvml, handle, held.get(process_id))
    return None


def all_gpus() -> list[GpuUse]:
    """Every GPU of this machine; none where there is no driver, or no nvidia-ml-py."""
    with _driver() as nvml, suppress(nvml.NVMLError):
        return [
            _use(nvml, nvml.nvmlDeviceGetHandleByIndex(number), None) for number in range(nvml.nvmlDeviceGetCount())
        ]
    return []


class _NoDriver:
    """Stands for nvidia-ml-py where it is not installed, or finds no driver: whatever it is asked, it cannot tell."""

    class NVMLError(Exception):
        pass

    def __getattr__(self, name: str) -> Any:
        raise self.NVMLError(name)


@contextmanager
def _driver() -> Iterator[Any]:
    try:
        import pynvml as nvml

        nvml.nvmlInit()
    except Exception:  # not installed; no driver; another release of the driver than the kernel's
        yield _NoDriver()
        return
    try:
        yield nvml
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _handle(nvml: Any, number: int) -> Any:
    """By torch's numbers where torch is loaded: CUDA_VISIBLE_DEVICES makes them others than the driver's."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(number).uuid}")
    return nvml.nvmlDeviceGetHandleByIndex(number)


def _use(nvml: Any, handle: Any, process_bytes: int | None) -> GpuUse:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    name = nvml.nvmlDeviceGetName(handle)
    return GpuUse(
        number=int(nvml.nvmlDeviceGetIndex(handle)),
        name=name.decode() if isinstance(name, bytes) else str(name),
        use_percent=int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        used_bytes=int(memory.used),
        total_bytes=int(memory.total),
        process_bytes=int(process_bytes) if process_bytes is not None else None,
    )
