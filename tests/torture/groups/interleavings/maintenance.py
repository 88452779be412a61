"""The model's gc and compact: `casstore.maintenance.gc.collect` and `compact.compact` beside it, step by step.

Giving up is being killed: either leaves the index as it is and the locks to the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.torture.groups.interleavings.actors import DONE
from tests.torture.groups.interleavings.model import Frames, Name, Pack, Rows, State, World

_FIRST, _SECOND = 1, 2
"""The round that finishes what a gc before has condemned, and this gc's own."""


@dataclass(frozen=True, slots=True)
class Collector:
    """gc."""

    name: str

    def begin(self) -> tuple[object, ...]:
        return ("maintenance_lock",)

    def steps(self, place: tuple[Any, ...], state: State, world: World) -> Iterator[tuple[str, State, tuple[Any, ...]]]:
        step, rows = place[0], Rows(state, world)
        if step == "maintenance_lock":
            if state.maintenance is None:
                after = ("_noted_leases", _FIRST, None) if rows.any_condemned() else ("list_packs",)
                yield step, state._replace(maintenance=self.name), after
        elif step == "list_packs":
            strangers = frozenset(pack for pack, _ in state.files) - state.entered
            yield step, state, ("_walk", strangers)
        elif step == "_walk":
            after = ("_condemn", place[1], rows.closure(state.refs))
            yield step, state._replace(has_moved_on=False), after
        elif step == "_condemn":
            rows.condemn_the_rest(rows.closure(state.refs) if state.has_moved_on else place[2])
            condemned = state._replace(rows=rows.frozen(), roots=state.refs, noted=None)
            yield step, condemned, ("_condemn: note", place[1])
        elif step == "_condemn: note":
            yield step, state._replace(noted=state.leases), ("_noted_leases", _SECOND, place[1])
        elif step == "_noted_leases":
            leases = state.noted if state.noted is not None else state.leases
            yield step, state, ("_wait", place[1], place[2], leases)
        elif step == "_wait":
            if not place[3] & state.leases:
                yield step, state, ("_delete", place[1], place[2])
        elif step == "_delete":
            yield step, self._deleted(state, world), ("remove_empty_packs", place[1], place[2])
        elif step == "remove_empty_packs":
            dead = rows.empty_packs(state.entered)
            after = ("unlink", place[1], place[2], dead)
            yield step, state._replace(entered=state.entered - dead, has_moved_on=True), after
        elif step == "unlink":
            after = ("list_packs",) if place[1] == _FIRST else ("_unlink_strangers", place[2])
            yield step, unlinked(state, place[3]), after
        elif step == "_unlink_strangers":
            yield step, unlinked(state, place[1] - state.entered)._replace(maintenance=None), DONE

    def _deleted(self, state: State, world: World) -> State:
        rows = Rows(state, world)
        newer = state.refs - (state.roots or frozenset())
        rows.acquit(rows.closure(recipe for recipe in newer if recipe in rows.by_name))
        rows.drop_condemned()
        return state._replace(rows=rows.frozen(), roots=None, noted=None)


@dataclass(frozen=True, slots=True)
class Compactor:
    """compact: moves what lives in one pack to another, or makes one chunk a delta."""

    name: str

    def begin(self) -> tuple[object, ...]:
        return ("maintenance_lock",)

    def steps(self, place: tuple[Any, ...], state: State, world: World) -> Iterator[tuple[str, State, tuple[Any, ...]]]:
        step, rows = place[0], Rows(state, world)
        if step == "maintenance_lock":
            if state.maintenance is None:
                yield step, state._replace(maintenance=self.name), ("plans",)
        elif step == "plans":
            for pack in sorted(state.entered):
                frames = tuple(sorted((name, row.base) for name, row in rows.by_name.items() if row.pack == pack))
                if frames:
                    yield f"_frames_of {pack}", state, ("seal", frames, dict_items({name: pack for name, _ in frames}))
            for name, base in world.alike.items():
                if self._pays(rows, name, base):
                    places = dict_items({name: rows.by_name[name].pack})
                    yield f"_delta {name} against {base}", state, ("seal", ((name, base),), places)
        elif step == "seal":
            yield step, state._replace(files=state.files | {(self.name, place[1])}), ("finish", *place[1:])
        elif step == "finish":
            yield step, self._moved(state, world, place[1], place[2]), ("remove_empty_packs",)
        elif step == "remove_empty_packs":
            dead = rows.empty_packs(state.entered)
            yield step, state._replace(entered=state.entered - dead, has_moved_on=True), ("unlink", dead)
        elif step == "unlink":
            yield step, unlinked(state, place[1])._replace(maintenance=None), DONE

    def _pays(self, rows: Rows, name: Name, base: Name) -> bool:
        """`replan.plans`: both are live and whole, and nothing is stored against the one that is to be a delta."""
        are_whole = all(rows.is_live(each) and rows.by_name[each].base is None for each in (name, base))
        return are_whole and not rows.is_base(name)

    def _moved(self, state: State, world: World, frames: Frames, places: tuple[tuple[Name, Pack], ...]) -> State:
        rows = Rows(state, world)
        rows.move(self.name, frames, dict(places))
        return state._replace(rows=rows.frozen(), entered=state.entered | {self.name}, has_moved_on=True)


def dict_items(places: dict[Name, Pack]) -> tuple[tuple[Name, Pack], ...]:
    """A dictionary that can be part of a state."""
    return tuple(sorted(places.items()))


def unlinked(state: State, packs: frozenset[Pack]) -> State:
    """The disk without these packs."""
    return state._replace(files=frozenset(file for file in state.files if file[0] not in packs))
