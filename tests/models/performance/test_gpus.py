"""What is known of GPUs, from a stand-in of the driver's library."""

# ruff: noqa: N802 (the functions of NVIDIA)

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from casmodels.performance.gpus import GpuUse, all_gpus, gpu_use
from tests.models.performance.driver import MIB, FakeNvml, install


def test_the_gpu_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeNvml()
    install(monkeypatch, driver)
    assert gpu_use("cuda:1", 7) == GpuUse(1, "GPU 1", 41, 30 * MIB, 100 * MIB, 10 * MIB)
    assert gpu_use("cuda", 7) == GpuUse(0, "GPU 0", 40, 30 * MIB, 100 * MIB, None)
    assert [gpu.number for gpu in all_gpus()] == [0, 1]
    assert driver.open == 0


def test_torch_numbers_them_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeNvml())
    cuda = SimpleNamespace(
        is_available=lambda: True, get_device_properties=lambda number: SimpleNamespace(uuid=("one", "zero")[number])
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))  # type: ignore[arg-type]
    found = gpu_use("cuda:0", 7)
    assert found is not None
    assert found.number == 1


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_other_devices_are_none(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    install(monkeypatch, FakeNvml())
    assert gpu_use(device, 7) is None


class NoDriver(FakeNvml):
    def nvmlInit(self) -> None:
        raise self.NVMLError("driver not loaded")


class OldDriver(FakeNvml):
    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        raise self.NVMLError("not supported")


@pytest.mark.parametrize("driver", [None, NoDriver(), OldDriver()], ids=["not installed", "no driver", "failing"])
def test_nobody_can_tell(monkeypatch: pytest.MonkeyPatch, driver: object) -> None:
    install(monkeypatch, driver)
    assert gpu_use("cuda:0", 7) is None
    assert all_gpus() == []


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeNvml())
    assert gpu_use("cuda:5", 7) is None
