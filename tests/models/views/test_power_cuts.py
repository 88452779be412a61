"""The power fails after a checkout or view was killed and run again: what was acknowledged is there."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from casmodels.views import materialise
from casstore import files
from casstore.index.places import Place
from casstore.testing.power import Moment, PowerCuts, lay_out
from tests.models.views.shelf import KilledError, Killer
from tests.quick_disk import quick_directory

Look = Callable[[Path], dict[str, object]]

BEFORE: dict[str, Any] = {"w.bin": b"before", "sub/a": b"a", "sub/gone": b"x", "link": "w.bin", "old/deep/b": b"b"}
AFTER: dict[str, Any] = {
    "w.bin": b"after",
    "sub/a": b"a",
    "link": "sub/a",
    "new/deep/c": b"c",
    "new/d": b"d",
    "e": b"e",
}
EVERY = pytest.mark.parametrize("step", [8, pytest.param(1, marks=pytest.mark.slow)])
"""At which of the changes of the disk the first run is killed."""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory, instead of pytest's own: there is much to sync."""
    with quick_directory() as directory:
        yield directory


@dataclass
class Recorded:
    """Moments of a directory, what was noted of it at each, and a killer who may strike at any."""

    directory: Path
    cuts: PowerCuts
    note: Callable[[], Place | None]
    killer: Killer
    notes: list[Place | None] = field(default_factory=list)

    def __call__(self, operation: str, path: str) -> None:
        self.killer(operation, path)
        self.cuts(operation, path)
        self.notes.append(self.note())

    def outcomes(self, at: int) -> Iterator[Place | None]:
        """Lay out what the disk may hold at a moment, one after the other; gives what the index knows then."""
        moment: Moment = self.cuts.moments[at]
        for names, contents in moment.outcomes(at, 2):
            shutil.rmtree(self.directory)
            self.directory.mkdir()
            lay_out(self.directory, moment, names, contents)
            yield self.notes[at]


@pytest.fixture
def record(tmp_path: Path, killer: Killer, shelf: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(materialise, "WORKERS", 1)
    before = files.set_hook(None)
    kept = tmp_path / "kept"

    def begin(directory: Path) -> Recorded:
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        recorded = Recorded(directory, PowerCuts(directory, kept), lambda: shelf.store.places.load(directory), killer)
        files.set_hook(recorded)
        return recorded

    yield begin
    files.set_hook(before)


def killed_and_run_again(killer: Killer, at: int, run: Callable[[], object]) -> bool:
    """Whether the first run came to its end."""
    killer.left = at
    try:
        run()
    except KilledError:
        return False
    finally:
        killer.left = None
        run()
    return True


@EVERY
def test_what_a_checkout_acknowledges_is_there_though_another_made_it(
    shelf: Any, tmp_path: Path, listing: Look, killer: Killer, record: Any, step: int
) -> None:
    first, second = shelf.put("one", BEFORE), shelf.put("two", AFTER)
    chance = random.Random(1)
    for at in range(step, 200, step):
        out = tmp_path / f"out{at}"
        files.set_hook(None)
        shelf.checkout(first, out, "one")
        recorded = record(out)
        has_ended = killed_and_run_again(killer, at, lambda: shelf.checkout(second, out, "two"))  # noqa: B023
        recorded("end", "")
        files.set_hook(None)
        for _ in recorded.outcomes(-1):
            assert listing(out) == AFTER, at
        for place in recorded.outcomes(chance.randrange(len(recorded.notes))):
            shelf.store.places.save(place)
            assert shelf.checkout(second, out, "two").kept == (), at
            assert listing(out) == AFTER, at
        if has_ended:
            return
    raise AssertionError("the run never came to its end")


@EVERY
def test_what_a_view_acknowledges_is_there_though_another_made_it(
    shelf: Any, tmp_path: Path, listing: Look, killer: Killer, record: Any, step: int
) -> None:
    version, other = shelf.put("two", AFTER), shelf.put("other", {"a": b"a"})
    for at in range(step, 200, step):
        view = shelf.view(tmp_path / f"home{at}")
        shelf.add(view, ("other", other))
        folder = view.hub / "models--two"
        folder.mkdir(parents=True)
        recorded = record(folder)
        has_ended = killed_and_run_again(killer, at, lambda: shelf.add(view, ("two", version)))  # noqa: B023
        recorded("end", "")
        files.set_hook(None)
        expected = listing(folder)
        for _ in recorded.outcomes(-1):
            assert listing(folder) == expected, at
        if has_ended:
            return
    raise AssertionError("the run never came to its end")
