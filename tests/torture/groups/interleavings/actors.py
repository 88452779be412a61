"""The actors of the model: each step is what the product does in one transaction or one call of the seam.

An actor's place in the state is a tuple: the name of its next step, and what it remembers. `Actor.steps` gives every
state that its next step may lead to, none where it must wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from tests.torture.groups.interleavings.model import Frames, Name, Pack, Rows, State, World

Next: TypeAlias = tuple[str, State]
"""What was done, and the state after it."""

DONE: Final = ("done",)


class Actor(Protocol):
    """Somebody who uses the store."""

    @property
    def name(self) -> str:
        """Of its lease, too."""
        ...

    def begin(self) -> tuple[object, ...]:
        """Its place before its first step."""
        ...

    def steps(self, place: tuple[Any, ...], state: State, world: World) -> Iterator[tuple[str, State, tuple[Any, ...]]]:
        """For each way in which the next step may go: what it is called, the state after it, and the place."""
        ...


def killed(actor: Actor, state: State) -> State:
    """The kernel frees what it held."""
    maintenance = None if state.maintenance == actor.name else state.maintenance
    return state._replace(leases=state.leases - {actor.name}, maintenance=maintenance, kills_left=state.kills_left - 1)


@dataclass(frozen=True, slots=True)
class Writer:
    """`Transaction`: looks chunks up, writes packs, and commits a recipe under a ref.

    ``has_bytes`` is a checkpoint or download; without, the blob is only looked up by its name (`find_blob`), as a pull
    does with what the store has. ``by_id`` brings a removed version back by its id alone.
    """

    name: str
    recipe: Name
    has_bytes: bool = True
    by_id: bool = False

    def begin(self) -> tuple[object, ...]:
        return ("Lease.take",)

    def steps(self, place: tuple[Any, ...], state: State, world: World) -> Iterator[tuple[str, State, tuple[Any, ...]]]:
        step = place[0]
        if step == "Lease.take":
            after = (
                ("commit", (), 0) if self.by_id else ("_knows_chunk", (), 0, 0) if self.has_bytes else ("find_blob",)
            )
            yield step, state._replace(leases=state.leases | {self.name}), after
        elif step == "find_blob":
            yield step, state, (("commit", (), 0) if Rows(state, world).is_live(self.recipe) else ("release",))
        elif step == "_knows_chunk":
            yield from self._look(place, state, world)
        elif step == "_enter_sealed":
            _, sealed, serial, index = place
            entered = self._entered(state, world, sealed, serial)
            if entered is None:
                yield "_check_bases fails", self._unlinked(state, serial), ("release",)
            else:
                yield step, entered, ("_knows_chunk", (), serial + 1, index)
        elif step == "commit":
            yield from self._commit(place[1], place[2], state, world)
        elif step == "release":
            yield step, state._replace(leases=state.leases - {self.name}), DONE

    def _look(self, place: tuple[Any, ...], state: State, world: World) -> Iterator[tuple[str, State, tuple[Any, ...]]]:
        """One chunk, or after the last one the recipe: it is known, or written, whole or against another."""
        _, pending, serial, index = place
        names = (*world.needs[self.recipe], self.recipe)
        if index == len(names):
            yield "seal" if pending else "commit", *self._end(state, pending, serial)
            return
        name, rows, written = names[index], Rows(state, world), {name for name, _ in pending}
        step = f"{'_add_record' if name.isupper() else '_knows_chunk'} {name}"
        if name in written or rows.is_live(name):
            yield step, state, ("_knows_chunk", pending, serial, index + 1)
            return
        bases: list[Name | None] = [None]
        like = world.alike.get(name)
        if like is not None and (rows.is_live(like) or like in written):
            bases.append(like)
        for base in bases:
            more = (*pending, (name, base))
            said = f"{step}: written{f' against {base}' if base else ''}"
            yield said, state, ("_knows_chunk", more, serial, index + 1)
            if not name.isupper():  # its pack is full
                sealed = self._sealed(state, more, serial)
                yield f"{said}, and sealed", sealed, ("_enter_sealed", more, serial, index + 1)

    def _end(self, state: State, pending: Frames, serial: int) -> tuple[State, tuple[Any, ...]]:
        if not pending:
            return state, ("commit", (), serial)
        return self._sealed(state, pending, serial), ("commit", pending, serial)

    def _pack(self, serial: int) -> Pack:
        return f"{self.name}.{serial}"

    def _sealed(self, state: State, frames: Frames, serial: int) -> State:
        return state._replace(files=state.files | {(self._pack(serial), frames)})

    def _unlinked(self, state: State, serial: int) -> State:
        return state._replace(files=frozenset(file for file in state.files if file[0] != self._pack(serial)))

    def _entered(self, state: State, world: World, frames: Frames, serial: int) -> State | None:
        """`Transaction._enter`; None where a base is gone."""
        rows = Rows(state, world)
        bases = {base for _, base in frames if base is not None}
        rows.add_pack(self._pack(serial), frames)
        if not bases <= rows.by_name.keys():
            return None
        if rows.any_condemned():
            rows.acquit(rows.with_bases(bases))
            rows.acquit(rows.closure(name for name, _ in frames if name.isupper()))
        return state._replace(rows=rows.frozen(), entered=state.entered | {self._pack(serial)}, has_moved_on=True)

    def _commit(
        self, pending: Frames, serial: int, state: State, world: World
    ) -> Iterator[tuple[str, State, tuple[Any, ...]]]:
        entered = self._entered(state, world, pending, serial) if pending else state
        if entered is None:
            yield "commit: _check_bases fails", self._unlinked(state, serial), ("release",)
            return
        rows = Rows(entered, world)
        if self.recipe not in rows.by_name:
            yield "commit: _set_ref refuses", self._unlinked(state, serial), ("release",)
            return
        rows.acquit(rows.closure([self.recipe]))
        refs = entered.refs | {self.recipe}
        yield "commit", entered._replace(rows=rows.frozen(), refs=refs, has_moved_on=True), ("release",)


@dataclass(frozen=True, slots=True)
class Remover:
    """`remove`: takes a ref away."""

    name: str
    recipe: Name

    def begin(self) -> tuple[object, ...]:
        return ("set_ref",)

    def steps(
        self,
        place: tuple[Any, ...],
        state: State,
        world: World,
    ) -> Iterator[tuple[str, State, tuple[Any, ...]]]:
        if place[0] == "set_ref":
            yield f"remove {self.recipe}", state._replace(refs=state.refs - {self.recipe}, has_moved_on=True), DONE


@dataclass(frozen=True, slots=True)
class Reader:
    """`BlobReader`: opens what a ref names, looks each frame up, and then opens the pack, which may be gone by then."""

    name: str
    recipe: Name

    def begin(self) -> tuple[object, ...]:
        return ("Lease.take",)

    def steps(self, place: tuple[Any, ...], state: State, world: World) -> Iterator[tuple[str, State, tuple[Any, ...]]]:
        step = place[0]
        if step == "Lease.take":
            yield step, state._replace(leases=state.leases | {self.name}), ("open_blob",)
        elif step == "open_blob":
            is_there = self.recipe in state.refs
            left = world.needs[self.recipe] if is_there else ()
            yield step, state, ("rows.frame", (self.recipe, *left)) if is_there else ("release",)
        elif step == "rows.frame":
            left = place[1]
            row = Rows(state, world).by_name.get(left[0])
            yield f"{step} {left[0]}", state, ("frame_at", left, row) if row else ("failed", left[0])
        elif step == "frame_at":
            yield from self._read(place[1], place[2], state)
        elif step == "release":
            yield step, state._replace(leases=state.leases - {self.name}), DONE

    def _read(self, left: tuple[Name, ...], row: Any, state: State) -> Iterator[tuple[str, State, tuple[Any, ...]]]:
        if not any(pack == row.pack for pack, _ in state.files):
            again = dict(state.rows).get(left[0])
            is_elsewhere = again is not None and again.pack != row.pack
            yield f"frame_at {left[0]}", state, ("frame_at", left, again) if is_elsewhere else ("failed", left[0])
            return
        rest = (*([row.base] if row.base else ()), *left[1:])
        yield f"frame_at {left[0]}", state, ("rows.frame", rest) if rest else ("release",)
