"""Every order of the actors' steps, and a kill before any of them: each state is looked at once, the nearest first."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from tests.torture.groups.interleavings.actors import DONE, Actor, Next, killed
from tests.torture.groups.interleavings.maintenance import Collector
from tests.torture.groups.interleavings.model import Row, State, World, what_is_left, what_is_wrong

_FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a search begins: which recipes are stored under a ref, which lie there without one, and who acts."""

    what: str
    world: World
    named: str
    unnamed: str
    actors: tuple[Actor, ...]
    kills: int = 1
    deltas: str = ""
    """Chunks that are stored against others from the beginning."""


@dataclass(frozen=True, slots=True)
class Found:
    """How many states and steps there were, what is wrong and which steps lead there, and whether these were all."""

    states: int
    steps: int
    failure: str | None
    is_all: bool = True


def explore(scene: Scene, most_states: int) -> Found:
    """Look at every state that can be reached, or at so many; stop at the first that is wrong."""
    alike: dict[object, object] = {}
    first = _beginning(scene)
    came_from: dict[State, tuple[State, str] | None] = {first: None}
    left, steps = deque([first]), 0
    while left:
        state = left.popleft()
        wrong = what_is_wrong(state, scene.world) or _who_failed(scene, state)
        following = list(_following(scene, state)) if wrong is None else []
        if wrong is None and not following:
            wrong = _at_the_end(scene, state)
        if wrong is not None:
            return Found(len(came_from), steps, f"{scene.what}: {wrong}, after {_path(came_from, state)}")
        for said, after in following:
            steps += 1
            if after not in came_from:
                # States differ in little: what they have in common is kept once.
                kept = State._make(alike.setdefault(part, part) for part in after)
                came_from[kept] = state, sys.intern(said)
                left.append(kept)
        if len(came_from) > most_states:
            return Found(len(came_from), steps, None, is_all=False)
    return Found(len(came_from), steps, None)


def _beginning(scene: Scene) -> State:
    rows, files = {}, set()
    for recipe in scene.named + scene.unnamed:
        frames = []
        for name in (*scene.world.needs[recipe], recipe):
            base = scene.world.alike[name] if name in scene.deltas else None
            if name not in rows:
                rows[name] = Row(f"old.{recipe}", base, is_condemned=False)
                frames.append((name, base))
        files.add((f"old.{recipe}", tuple(frames)))
    return State(
        rows=frozenset(rows.items()),
        files=frozenset(files),
        entered=frozenset(pack for pack, _ in files),
        refs=frozenset(scene.named),
        leases=frozenset(),
        maintenance=None,
        roots=None,
        noted=None,
        has_moved_on=False,
        actors=tuple(actor.begin() for actor in scene.actors),
        kills_left=scene.kills,
    )


def _following(scene: Scene, state: State) -> Iterator[Next]:
    for number, (actor, place) in enumerate(zip(scene.actors, state.actors, strict=True)):
        if place == DONE:
            continue
        for said, after, next_place in actor.steps(place, state, scene.world):
            yield f"{actor.name}: {said}", _with(after, number, next_place)
        if state.kills_left and place != actor.begin():
            yield f"{actor.name} is killed", _with(killed(actor, state), number, DONE)


def _with(state: State, number: int, place: tuple[object, ...]) -> State:
    return state._replace(actors=(*state.actors[:number], place, *state.actors[number + 1 :]))


def _who_failed(scene: Scene, state: State) -> str | None:
    for actor, place in zip(scene.actors, state.actors, strict=True):
        if place[0] == _FAILED:
            return f"{actor.name} cannot read {place[1]}"
    return None


def _at_the_end(scene: Scene, state: State) -> str | None:
    """Nobody can go on: then all must have ended, and one last gc after another must leave what is needed."""
    waiting = [actor.name for actor, place in zip(scene.actors, state.actors, strict=True) if place != DONE]
    if waiting:
        return f"nobody can go on, and {', '.join(waiting)} have not ended"
    for number in range(2):  # the first may have another's to finish
        state = _alone(Collector(f"last gc {number}"), state, scene.world)
    return what_is_wrong(state, scene.world) or what_is_left(state, scene.world)


def _alone(actor: Actor, state: State, world: World) -> State:
    place = actor.begin()
    while place != DONE:
        ((_, state, place),) = actor.steps(place, state, world)
    return state


def _path(came_from: dict[State, tuple[State, str] | None], state: State) -> str:
    steps = []
    at: State | None = state
    while at is not None and (before := came_from[at]) is not None:
        at = before[0]
        steps.append(before[1])
    return "; ".join(reversed(steps))
