"""The power fails before any call: what was acknowledged is there, whatever of the rest the disk has kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from casstore import store
from casstore.testing.faults import hooked
from casstore.testing.power import PowerCuts, lay_out
from tests.crash.checks import check_survival
from tests.crash.operations import OPERATIONS, opened

_POINTS = 12


class Immediately:
    """In the place of the thread that seals packs, so that calls come one after the other."""

    def __init__(self, *_arguments: object) -> None:
        pass

    def submit(self, work: Callable[[], object]) -> Future[object]:
        future: Future[object] = Future()
        future.set_result(work())
        return future

    def shutdown(self, *, wait: bool) -> None:
        pass


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ThreadPoolExecutor", Immediately)


def cut_everywhere(directory: Path, operation: str, points: int | None, outcomes: int) -> None:
    root, shelf, after = directory / "root", directory / "shelf", directory / "after"
    with opened(root, create=True) as made:
        OPERATIONS[operation].prepare(made)
    shelf.mkdir()
    cuts = PowerCuts(root, shelf)
    with hooked(cuts):
        OPERATIONS[operation].run(root, cuts.acknowledge)
        cuts("end", "")
    assert cuts.moments[-1].acknowledged == OPERATIONS[operation].comes
    step = 1 if points is None else max(len(cuts.moments) / points, 1)
    chosen = sorted({int(number * step) for number in range(int(len(cuts.moments) / step))} | {len(cuts.moments) - 1})
    for at in chosen:
        moment = cuts.moments[at]
        for number, (names, contents) in enumerate(moment.outcomes(at, outcomes)):
            lay_out(after, moment, names, contents)
            try:
                check_survival(after, operation, moment.acknowledged)
            except BaseException as error:
                error.add_note(f"{operation}, cut before call {at}, {moment.operation} {moment.path}, outcome {number}")
                raise
            shutil.rmtree(after)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_cut_at_some_calls(tmp_path: Path, operation: str) -> None:
    cut_everywhere(tmp_path, operation, _POINTS, 1)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
def test_cut_at_every_call(tmp_path: Path, operation: str) -> None:
    cut_everywhere(tmp_path, operation, None, 4)
