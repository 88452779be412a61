"""The model's gc and compact: `casstore.maintenance.gc.collect` and `compact.compact` beside it, step by step.

Giving up is being killed: either leaves the index as it is and the locks to the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tests.torture.groups.interleavings.actors import DONE
from tests.torture.groups.interleavings.model import Frames, Name, Pack, Rows, State, World

_FIRST, _SECOND = 1, 2
"""The round that finishes what a gc before has condemned, and this gc's own."""

_After: TypeAlias = tuple[State, tuple[Any, ...]]
"""The state after a step, and the actor's place."""

_Step: TypeAlias = tuple[str, State, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Collector:
    """gc."""

    name: str

    def begin(self) -> tuple[object, ...]:
        return ("maintenance_lock",)

    def steps(self, place: tuple[Any, ...], state: State, world: World) -> Iterator[_Step]:
        after = _COLLECT[place[0]](self, place[1:], state, Rows(state, world))
        if after is not None:
            yield place[0], *after

    def _lock(self, _: tuple[Any, ...], state: State, rows: Rows) -> _After | None:
        if state.maintenance is not None:
            return None
        after = ("_noted_leases", _FIRST, None) if rows.any_condemned() else ("list_packs",)
        return state._replace(maintenance=self.name), after

    def _list(self, _: tuple[Any, ...], state: State, rows: Rows) -> _After:
        return state, ("_walk", frozenset(pack for pack, _ in state.files) - state.entered)

    def _walk(self, place: tuple[Any, ...], state: State, rows: Rows) -> _After:
        return state._replace(has_moved_on=False), ("_condemn", *place, rows.closure(state.refs))

    def _condemn(self, place: tuple[Any, ...], state: State, rows: Rows) -> _After:
        strangers, reached = place
        rows.condemn_the_rest(rows.closure(state.refs) if state.has_moved_on else reached)
        return state._replace(rows=rows.frozen(), roots=state.refs, noted=None), ("open_leases", strangers)

    def _note(self, place: tuple[Any, ...], state: State, _rows: Rows) -> _After:
        return state._replace(noted=state.leases), ("_noted_leases", _SECOND, *place)

    def _noted_leases(self, place: tuple[Any, ...], state: State, _rows: Rows) -> _After:
        return state, ("_wait", *place, state.noted if state.noted is not None else state.leases)

    def _wait(self, place: tuple[Any, ...], state: State, _rows: Rows) -> _After | None:
        number, strangers, leases = place
        return None if leases & state.leases else (state, ("_delete", number, strangers))

    def _delete(self, place: tuple[Any, ...], state: State, rows: Rows) -> _After:
        newer = state.refs - (state.roots or frozenset())
        rows.acquit(rows.closure(newer))
        rows.drop_condemned()
        return state._replace(rows=rows.frozen(), roots=None, noted=None), ("remove_empty_packs", *place)

    def _remove(self, place: tuple[Any, ...], state: State, rows: Rows) -> _After:
        dead = rows.empty_packs(state.entered)
        return state._replace(entered=state.entered - dead, has_moved_on=True), ("unlink", *place, dead)

    def _unlink(self, place: tuple[Any, ...], state: State, _rows: Rows) -> _After:
        number, strangers, dead = place
        return unlinked(state, dead), ("list_packs",) if number == _FIRST else ("_unlink_strangers", strangers)

    def _unlink_strangers(self, place: tuple[Any, ...], state: State, _rows: Rows) -> _After:
        return unlinked(state, place[0] - state.entered)._replace(maintenance=None), DONE


_COLLECT: Final[dict[str, Callable[[Collector, tuple[Any, ...], State, Rows], _After | None]]] = {
    "maintenance_lock": Collector._lock,
    "list_packs": Collector._list,
    "_walk": Collector._walk,
    "_condemn": Collector._condemn,
    "open_leases": Collector._note,
    "_noted_leases": Collector._noted_leases,
    "_wait": Collector._wait,
    "_delete": Collector._delete,
    "remove_empty_packs": Collector._remove,
    "unlink": Collector._unlink,
    "_unlink_strangers": Collector._unlink_strangers,
}


@dataclass(frozen=True, slots=True)
class Compactor:
    """compact: moves what lives in one pack to another, or makes one chunk a delta."""

    name: str

    def begin(self) -> tuple[object, ...]:
        return ("maintenance_lock",)

    def steps(self, place: tuple[Any, ...], state: State, world: World) -> Iterator[_Step]:
        step, rows = place[0], Rows(state, world)
        if step == "maintenance_lock":
            if state.maintenance is None:
                yield step, state._replace(maintenance=self.name), ("plans",)
        elif step == "plans":
            plans = list(self._plans(state, rows))
            yield from plans or [("nothing pays", state._replace(maintenance=None), DONE)]
        elif step == "seal":
            yield step, state._replace(files=state.files | {(self.name, place[1])}), ("finish", *place[1:])
        elif step == "finish":
            rows.move(self.name, place[1], dict(place[2]))
            entered = state.entered | {self.name}
            moved = state._replace(rows=rows.frozen(), entered=entered, has_moved_on=True)
            yield step, moved, ("remove_empty_packs",)
        elif step == "remove_empty_packs":
            dead = rows.empty_packs(state.entered)
            yield step, state._replace(entered=state.entered - dead, has_moved_on=True), ("unlink", dead)
        elif step == "unlink":
            yield step, unlinked(state, place[1])._replace(maintenance=None), DONE

    def _plans(self, state: State, rows: Rows) -> Iterator[_Step]:
        for pack in sorted(state.entered):
            frames = tuple(sorted((name, row.base) for name, row in rows.by_name.items() if row.pack == pack))
            if frames:
                yield f"_frames_of {pack}", state, _to_move(rows, frames)
        for name, base in rows.world.alike.items():
            if self._pays(rows, name, base):
                yield f"_delta {name} against {base}", state, _to_move(rows, ((name, base),))

    def _pays(self, rows: Rows, name: Name, base: Name) -> bool:
        """`replan.plans`: both are live and whole, and nothing is stored against the one that is to be a delta."""
        are_whole = all(rows.is_live(each) and rows.by_name[each].base is None for each in (name, base))
        return are_whole and not rows.is_base(name)


def _to_move(rows: Rows, frames: Frames) -> tuple[object, ...]:
    """A pack's frames, and where each of them lies now."""
    places: tuple[tuple[Name, Pack], ...] = tuple((name, rows.by_name[name].pack) for name, _ in frames)
    return "seal", frames, places


def unlinked(state: State, packs: frozenset[Pack]) -> State:
    """The disk without these packs."""
    return state._replace(files=frozenset(file for file in state.files if file[0] not in packs))
