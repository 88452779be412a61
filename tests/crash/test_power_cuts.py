"""The power fails before any call: what was acknowledged is there, whatever of the rest the disk has kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.operations import OPERATIONS
from tests.crash.power_cuts import check_moment, one_thread, record

_POINTS = 12


def cut_everywhere(directory: Path, operation: str, points: int | None, outcomes: int) -> None:
    with one_thread():
        moments = record(directory, operation)
        step = 1 if points is None else max(len(moments) / points, 1)
        for at in sorted({int(number * step) for number in range(int(len(moments) / step))} | {len(moments) - 1}):
            check_moment(directory, operation, moments, at, outcomes)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_cut_at_some_calls(tmp_path: Path, operation: str) -> None:
    cut_everywhere(tmp_path, operation, _POINTS, 1)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_cut_at_every_call(tmp_path: Path, operation: str) -> None:
    cut_everywhere(tmp_path, operation, None, 4)
