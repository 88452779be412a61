"""SIGKILL at every call that changes the disk: each operation in turn, each call in turn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.checks import check_survival
from tests.crash.operations import OPERATIONS
from tests.crash.server import Forker

_KILLED = -9
_POINTS = 24


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with Forker() as forker:
        yield forker


def sweep(forker: Forker, directory: Path, operation: str, points: int | None) -> int:
    """Kill at that many calls, evenly spread (None: at each); gives at how many."""
    template = directory / "template"
    OPERATIONS[operation].begin(template)
    counted = directory / "counted"
    shutil.copytree(template, counted)
    calls = forker.run(operation, counted, -1)
    check_survival(counted, operation, OPERATIONS[operation].comes | OPERATIONS[operation].goes)
    assert calls >= 5
    killed = 0
    step = 1 if points is None else max(calls / points, 1)
    # Threads make the order of some calls uncertain, so the last ones may not come: then the operation ends well.
    for at in sorted({int(number * step) for number in range(int(calls / step) + 1)}):
        path = directory / "store"
        shutil.copytree(template, path)
        status = forker.run(operation, path, at)
        assert status in (_KILLED, 0), f"killed before call {at}: {status}"
        killed += status == _KILLED
        try:
            check_survival(path, operation)
        except BaseException as error:
            error.add_note(f"{operation}, killed before call {at} of {calls}")
            raise
        shutil.rmtree(path)
    return killed


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_some_calls(forker: Forker, tmp_path: Path, operation: str) -> None:
    assert sweep(forker, tmp_path, operation, _POINTS) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_every_call(forker: Forker, tmp_path: Path, operation: str) -> None:
    assert sweep(forker, tmp_path, operation, None) >= 5
