"""Damage to every part of a store's files, in every way: it is named, it gives no wrong byte, and it is healed.

In the packs, what must suffer is told from the bytes that changed and from what the versions need, not by asking the
store. Without copies, `repair` must name just that as lost; with a view, a checkout or copies in a directory it must
heal all but the records of versions, and storing the same files again must heal as well. Damage to the index or the
journal must be noticed wherever it shows, neither gc nor compact may drop anything by it, and `repair` must bring
everything back.
"""

from __future__ import annotations

import filecmp
import random
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from casmodels.library import Store
from casmodels.results import Damage
from casstore.errors import StoreError
from casstore.frames import FrameKind
from tests.quick_disk import quick_directory
from tests.torture.groups.damage.reading import Answer, cat_all, files_below, read_all
from tests.torture.groups.damage.shelf import Held, Name, Shelf, Sufferer, make
from tests.torture.groups.damage.table import HARMS, IN_PACKS, PARTS, Cell, ranges
from tests.torture.plan import Mutation, Outcome, Plan

_ROUNDS: Final = 6
_PLACES: Final = 8
"""An index has no checksums, and what a bit of it is decides what comes of it."""
_HTTP_EVERY: Final = 6
_TRIES: Final = 50

COPIES: Final = ("copies", "checkouts", "view")
"""Where files lie that a damaged store can be healed from."""

MUTATIONS = [
    Mutation(
        "a chunk's digest is not compared on reading",
        "store/casstore/engine.py",
        "    if check and blake3_digest(raw) != Digest(BLAKE3, digest):\n        raise DamagedError(what, _MISMATCH)",
        "    if check and kind is not FrameKind.CHUNK and blake3_digest(raw) != Digest(BLAKE3, digest):\n"
        "        raise DamagedError(what, _MISMATCH)",
    ),
    Mutation(
        "verify skips deltas' bases",
        "store/casstore/maintenance/findings.py",
        "    if row.base is not None:\n        return _reason(engine, FrameKind.CHUNK, row.base, broken)\n",
        "",
    ),
    Mutation(
        "repair takes a file's word for what is in it",
        "store/casstore/transactions.py",
        "        return hashers.sha256, lost & {part.chunk for part in parts}",
        "        return hashers.sha256, lost if parts else lost",
    ),
    Mutation(
        "deltas count again without being read",
        "store/casstore/maintenance/heal.py",
        "    except DamagedError:\n        return False\n",
        "    except DamagedError:\n        return True\n",
    ),
    Mutation(
        "a damaged frame stays live",
        "store/casstore/maintenance/repair.py",
        "rows.set_state(kind, (digest for of, digest in checked.broken if of is kind), State.DAMAGED)",
        "del kind",
    ),
    Mutation(
        "lists do not tell that a version is damaged",
        "casmodels/library/inventory.py",
        '    if record.version is None:\n        return "its record cannot be read"\n',
        "    if record.version is None:\n        return None\n",
    ),
    Mutation(
        "gc believes an index that its journal contradicts",
        "store/casstore/maintenance/gc.py",
        "        check_agreement(engine)\n",
        "",
    ),
    Mutation(
        "gc believes an index that does not know what is needed",
        "store/casstore/maintenance/needed.py",
        "    if missing > (int(noted) if noted.isdecimal() else 0):\n",
        "    if missing < 0:\n",
    ),
    Mutation(
        "a trailer is believed whosever it is",
        "store/casstore/packs.py",
        "    if frames and not any(_lies_there(path, placed) for placed in frames):",
        "    if not frames:",
    ),
    Mutation(
        "a journal that has lost its end is believed",
        "store/casstore/maintenance/rebuild.py",
        "return _history_by_index(layout, ahead_of=end) or _history_of(entries, end=end)",
        "return _history_of(entries, end=end)",
    ),
]


def run(plan: Plan) -> Iterator[Outcome]:
    """Every cell of the table: once in a short run, else several times at other places."""
    with quick_directory() as work:
        yield from _table(plan, make(work, plan.random("content")))


def _table(plan: Plan, shelf: Shelf) -> Iterator[Outcome]:
    number = 0
    for part in PARTS:
        failures: list[str] = []
        points = 0
        for harm in HARMS:
            rounds = 1 if plan.is_short else _ROUNDS
            for _ in range(rounds * _PLACES if (part, harm) == ("index", "flip") else rounds):
                chance = plan.random(f"{part} {harm} {points}")
                trial = Trial(shelf, Cell(part, harm), chance, number, f"with the seed {plan.seed}, round {points}")
                failures += [f"{trial.cell}, {trial.where}: {problem}" for problem in trial.all_problems()]
                points += 1
                number += 1
        yield Outcome(f"{', '.join(HARMS)} in a {part}", points, tuple(failures))


class Trial:
    """One damage, and what comes of it."""

    def __init__(self, shelf: Shelf, cell: Cell, chance: random.Random, number: int, where: str) -> None:
        self.cell = cell
        self.where = where
        self._shelf = shelf
        self._chance = chance
        self._number = number

    def all_problems(self) -> Iterator[str]:
        """What did not hold; an error that nobody raises on purpose does not either."""
        try:
            yield from self._problems()
        except Exception as error:
            yield f"{error!r} at {traceback.extract_tb(error.__traceback__)[-1]}"

    def _problems(self) -> Iterator[str]:
        self._harm()
        if self.cell.part in IN_PACKS:
            yield from self._problems_of_packs()
        else:
            yield from self._problems_of_truth()

    def _harm(self) -> None:
        self._show(COPIES)
        for _ in range(_TRIES):
            self._shelf.begin_anew()
            HARMS[self.cell.harm](ranges(self._shelf, self.cell.part), self._chance)
            if _differ(self._shelf.store, self._shelf.work / "whole"):
                return
        raise AssertionError(f"{self.cell} changes nothing")

    def _problems_of_packs(self) -> Iterator[str]:
        broken = self._shelf.broken()
        must = {sufferer for held in self._shelf.held for sufferer in held.suffers(broken)}
        with self._shelf.open() as store:
            if self.cell.harm == "truncate" or not all(
                self._shelf.range_of(row).path.exists() for row in self._shelf.rows
            ):
                told = _named(store.verify().damaged)
                yield from (f"verify without --data tells otherwise of {one}" for one in told ^ must)
            named = _named(store.verify(data=True).damaged)
            yield from self._problems_of_lists(store, broken)
            answers = list(read_all(self._shelf, store, over_http=self._number % _HTTP_EVERY == 0))
        yield from (f"verify names {one}, which does not suffer" for one in named - must)
        yield from _wrong(answers)
        for answer in answers:
            hurt = _hurt(must - named, answer)
            if answer.is_right is None and (hurt or not _hurt(must, answer)):
                yield f"{answer.way} of {answer.path} of {answer.held.name} fails for no reason: {answer.error}"
        yield from self._problems_of_repair(must & named, broken)

    def _problems_of_lists(self, store: Store, broken: frozenset[Name]) -> Iterator[str]:
        """Lists show every version, and as damaged those of which a record is; chunks they do not look at."""
        records = {name for name in broken if name[0] is not FrameKind.CHUNK}
        must = {(held.name, held.version) for held in self._shelf.held if any(held.suffers(frozenset(records)))}
        versions = store.versions()
        if {(each.name, each.version) for each in versions} != {(held.name, held.version) for held in self._shelf.held}:
            yield f"versions lists {len(versions)} versions of {len(self._shelf.held)}"
        shown = {(each.name, each.version) for each in versions if each.damaged is not None}
        yield from (f"versions tells otherwise of {one}" for one in shown ^ must)
        counted = {each.name for each in store.list() if each.damaged}
        yield from (f"list tells otherwise of {one}" for one in counted ^ {name for name, _ in must})

    def _problems_of_repair(self, must: set[Sufferer], broken: frozenset[Name]) -> Iterator[str]:
        gone = {(held.name, held.version, None) for held in self._shelf.held if _record_of(held) in broken}
        way = ("given", "again", "checkouts", "view")[self._number % 4]
        self._show(() if way in ("given", "again") else (way,))
        with self._shelf.open() as store:
            lost = _named(store.repair().lost)
            if way in ("given", "again"):
                # Frames that were only moved may be found where they lie now.
                yield from (
                    f"without copies, repair calls {one} lost, which does not suffer"
                    for one in lost - must
                    if (one[0], one[1], None) not in must
                )
                yield from self._problems_but_for(store, lost, "without copies")
                self._show(("copies",))
            if way == "given":
                lost = _named(store.repair([self._shelf.work / "copies"]).lost)
            elif way == "again":
                for name in {held.name for held in self._shelf.held}:
                    store.checkpoint(name, self._shelf.work / "copies" / name, rehash=True)
                lost = _named(store.verify(data=True).damaged)
            yield from (f"with {way}, repair calls {one} lost, which could be healed" for one in lost - (must & gone))
            yield from self._problems_but_for(store, lost, f"with {way}")

    def _problems_but_for(self, store: Store, lost: set[Sufferer], how: str) -> Iterator[str]:
        """After a repair, that all but what is lost can be had, and that `verify` says the same."""
        if (named := _named(store.verify(data=True).damaged)) != lost:
            yield f"after a repair {how}, verify names {sorted(map(str, named))} instead of {sorted(map(str, lost))}"
        for answer in cat_all(self._shelf, store):
            if answer.is_right is False:
                yield f"after a repair {how}, {answer.way} of {answer.path} of {answer.held.name} gives wrong bytes"
            elif answer.is_right is None and not _hurt(lost, answer):
                yield f"after a repair {how}, {answer.way} of {answer.path} fails: {answer.error}"

    def _problems_of_truth(self) -> Iterator[str]:
        try:
            with self._shelf.open() as store:
                is_well = store.verify(data=True).ok
                answers = list(read_all(self._shelf, store, over_http=False))
        except StoreError:
            is_well, answers = False, []
        yield from _wrong(answers)
        if is_well and (failed := [answer for answer in answers if not answer.is_right]):
            yield f"verify says all is well, but {failed[0].way} of {failed[0].path} fails: {failed[0].error}"
        if is_well and self.cell.part == "journal line":
            yield "verify does not see that the journal is damaged"
        self._drop_by_what_is_damaged()
        with self._shelf.open() as store:
            lost = store.repair().lost
            if lost:
                yield f"repair calls {sorted(map(str, _named(lost)))} lost, of whose bytes none was damaged"
            answers = list(cat_all(self._shelf, store))
            yield from (
                f"after a repair, {answer.way} of {answer.path} of {answer.held.name} fails: {answer.error}"
                for answer in answers
                if not answer.is_right
            )
            if not store.verify(data=True).ok:
                yield "after a repair, verify finds damage"

    def _drop_by_what_is_damaged(self) -> None:
        """What is needed may seem not to be; so none of these may go by it. What they drop no copy gives back."""
        self._show(())
        for work in (Store.gc, Store.compact, Store.gc):
            with suppress(StoreError), self._shelf.open() as store:
                work(store)

    def _a_pack_is_gone(self) -> bool:
        return any(not self._shelf.range_of(row).path.exists() for row in self._shelf.rows)

    def _show(self, names: tuple[str, ...]) -> None:
        """Let only these copies lie where the store knows them."""
        hidden = self._shelf.work / "hidden"
        hidden.mkdir(exist_ok=True)
        for name in COPIES:
            here, there = self._shelf.work / name, hidden / name
            if name in names and there.exists():
                there.rename(here)
            elif name not in names and here.exists():
                here.rename(there)


def _named(damaged: tuple[Damage, ...]) -> set[Sufferer]:
    return {(each.model, each.version, each.path) for each in damaged if each.model and each.version}


def _hurt(sufferers: set[Sufferer], answer: Answer) -> bool:
    """Whether an answer may be an error: a checkout is one if anything of the version suffers."""
    held = answer.held
    if answer.way == "checkout":
        return any(version == held.version for _, version, _ in sufferers)
    return bool({(held.name, held.version, None), (held.name, held.version, answer.path)} & sufferers)


def _wrong(answers: Iterator[Answer] | list[Answer]) -> Iterator[str]:
    for answer in answers:
        if answer.is_right is False:
            yield f"{answer.way} of {answer.path} of {answer.held.name} gives wrong bytes"


def _record_of(held: Held) -> Name:
    return max(held.records)  # a version's kind is the highest


def _differ(one: Path, other: Path) -> bool:
    names = [[path.relative_to(top) for path in files_below(top)] for top in (one, other)]
    return names[0] != names[1] or any(not filecmp.cmp(one / name, other / name, shallow=False) for name in names[0])
