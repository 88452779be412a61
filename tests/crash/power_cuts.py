"""The power fails before any call of an operation: the moments are recorded once, and laid out one by one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from casstore import store
from casstore.testing.faults import hooked
from casstore.testing.power import Moment, PowerCuts, lay_out
from tests.crash.checks import check_survival
from tests.crash.operations import OPERATIONS


class _Immediately:
    """In the place of the thread that seals packs, so that calls come one after the other."""

    def __init__(self, *_arguments: object) -> None:
        pass

    def submit(self, work: Callable[[], object]) -> Future[object]:
        future: Future[object] = Future()
        future.set_result(work())
        return future

    def shutdown(self, *, wait: bool) -> None:
        pass


@contextmanager
def one_thread() -> Iterator[None]:
    """Open stores without threads that change the disk."""
    module = cast("Any", store)
    before = module.ThreadPoolExecutor
    module.ThreadPoolExecutor = _Immediately
    try:
        yield
    finally:
        module.ThreadPoolExecutor = before


def record(directory: Path, operation: str) -> list[Moment]:
    """Run an operation in a new directory; gives the moments before each of its calls, and the one after the last."""
    root, shelf = directory / "root", directory / "shelf"
    wanted = OPERATIONS[operation]
    wanted.begin(root)
    shelf.mkdir()
    cuts = PowerCuts(root, shelf)
    with hooked(cuts):
        wanted.run(root, cuts.acknowledge)
        cuts("end", "")
    shutil.rmtree(root)
    shutil.rmtree(shelf)
    assert cuts.moments[-1].acknowledged == wanted.comes | wanted.goes
    return cuts.moments


def check_moment(directory: Path, operation: str, moments: list[Moment], at: int, outcomes: int) -> None:
    """Cut before that call, and check what the disk may hold then: the least, all names, and more at random."""
    moment = moments[at]
    after = directory / "after"
    for number, (names, contents) in enumerate(moment.outcomes(at, outcomes)):
        lay_out(after, moment, names, contents)
        try:
            check_survival(after, operation, moment.acknowledged)
        except BaseException as error:
            error.add_note(f"{operation}, cut before call {at}, {moment.operation} {moment.path}, outcome {number}")
            raise
        finally:
            shutil.rmtree(after, ignore_errors=True)
