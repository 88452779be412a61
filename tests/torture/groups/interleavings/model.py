"""A model of the store as gc sees it: rows, packs, refs, leases. Each function is named after what it stands for.

`Rows.add_pack`, `Rows.move`, `Rows.acquit`, `Rows.drop_condemned` and `empty_packs` are those of casstore.index.rows,
`closure` that of casstore.closure. A recipe stands here for a whole version: its tree and its own record would only be
more of the same. What happens in one transaction under the commit lock is one step of an actor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

Name: TypeAlias = str
"""Of a frame: chunks are lower-case letters, recipes upper-case ones."""

Pack: TypeAlias = str
"""Who wrote it, and which of its packs: so that the same pack has the same name in whatever order things happened."""

Frames: TypeAlias = tuple[tuple[Name, Name | None], ...]
"""Frames in a pack, each with its base."""


class Row(NamedTuple):
    """Where a frame lies, what it is stored against, and whether a gc has condemned it."""

    pack: Pack
    base: Name | None
    is_condemned: bool


@dataclass(frozen=True, slots=True)
class World:
    """What there is to store: which chunks make a recipe, and which chunk may be stored against which."""

    needs: Mapping[Name, tuple[Name, ...]]
    alike: Mapping[Name, Name]


class State(NamedTuple):
    """The disk, the index, the kernel's locks, and how far each actor has come."""

    rows: frozenset[tuple[Name, Row]]
    files: frozenset[tuple[Pack, Frames]]
    entered: frozenset[Pack]
    refs: frozenset[Name]
    leases: frozenset[str]
    maintenance: str | None
    roots: frozenset[Name] | None
    noted: frozenset[str] | None
    has_moved_on: bool
    """Whether anything was committed since the last walk: `_condemn` compares the journal's sequence."""
    actors: tuple[tuple[object, ...], ...]
    kills_left: int


class Rows:
    """The index within one transaction: changed at once, and put into a new state at its end."""

    def __init__(self, state: State, world: World) -> None:
        self.by_name = dict(state.rows)
        self.world = world

    def frozen(self) -> frozenset[tuple[Name, Row]]:
        """For a state."""
        return frozenset(self.by_name.items())

    def is_live(self, name: Name) -> bool:
        """Whether a look-up shows it."""
        row = self.by_name.get(name)
        return row is not None and not row.is_condemned

    def any_condemned(self) -> bool:
        """Whether a gc has condemned frames that it has not dropped yet."""
        return any(row.is_condemned for row in self.by_name.values())

    def is_base(self, name: Name) -> bool:
        """Whether anything is stored against it."""
        return any(row.base == name for row in self.by_name.values())

    def add_pack(self, pack: Pack, frames: Frames) -> None:
        """A frame that is live elsewhere stays there, unless it is a delta and the new one is whole."""
        for name, base in frames:
            row = self.by_name.get(name)
            if row is None or row.is_condemned or (row.base is not None and base is None):
                self.by_name[name] = Row(pack, base, is_condemned=False)

    def move(self, pack: Pack, frames: Frames, places: Mapping[Name, Pack]) -> None:
        """Only what still lies where it was read; to a delta, only what nothing is stored against."""
        for name, base in frames:
            row = self.by_name.get(name)
            if row is None or row.pack != places[name]:
                continue
            if base is None or row.base is not None or not self.is_base(name):
                self.by_name[name] = Row(pack, base, row.is_condemned)

    def acquit(self, names: Iterable[Name]) -> None:
        """Let these go if they are condemned."""
        for name in names:
            row = self.by_name.get(name)
            if row is not None:
                self.by_name[name] = row._replace(is_condemned=False)

    def condemn_the_rest(self, reached: frozenset[Name]) -> None:
        """Mark what is not reached."""
        for name, row in self.by_name.items():
            if name not in reached:
                self.by_name[name] = row._replace(is_condemned=True)

    def drop_condemned(self) -> None:
        """Drop the rows that are condemned."""
        self.by_name = {name: row for name, row in self.by_name.items() if not row.is_condemned}

    def empty_packs(self, entered: frozenset[Pack]) -> frozenset[Pack]:
        """The packs that count and that no row points into."""
        return entered - {row.pack for row in self.by_name.values()}

    def closure(self, recipes: Iterable[Name]) -> frozenset[Name]:
        """Recipes, and what they need, the bases of deltas too."""
        found = set[Name]()
        for recipe in recipes:
            found.add(recipe)
            found |= self.with_bases(self.world.needs[recipe])
        return frozenset(found)

    def with_bases(self, chunks: Iterable[Name]) -> frozenset[Name]:
        """These chunks, what they are stored against, and what that is."""
        left, seen = list(chunks), set[Name]()
        while left:
            name = left.pop()
            if name in seen:
                continue
            seen.add(name)
            row = self.by_name.get(name)
            if row is not None and row.base is not None:
                left.append(row.base)
        return frozenset(seen)


def what_is_wrong(state: State, world: World) -> str | None:
    """What must hold at every moment; a sentence where it does not."""
    rows = Rows(state, world)
    return _misplaced(state) or _lacking(state, rows) or _promised(rows)


def _misplaced(state: State) -> str | None:
    """A row leads to a pack that counts and lies there with the frame in it."""
    lying = dict(state.files)
    for name, row in state.rows:
        if row.pack not in state.entered or row.pack not in lying:
            return f"the row of {name} points into the pack {row.pack}, which is gone"
        if (name, row.base) not in lying[row.pack]:
            return f"the row of {name} says that it lies in {row.pack} against {row.base}, which it does not"
    return None


def _lacking(state: State, rows: Rows) -> str | None:
    """All that a committed version needs is live."""
    for recipe in state.refs:
        for name in rows.closure([recipe]):
            if not rows.is_live(name):
                return f"the version {recipe} is committed and lacks {name}"
    return None


def _promised(rows: Rows) -> str | None:
    """What look-ups show has all that it needs: FORMAT.md, "What the index promises"."""
    for name, row in rows.by_name.items():
        if row.is_condemned:
            continue
        for needed in rows.with_bases([*rows.world.needs.get(name, ()), *([row.base] if row.base else [])]):
            if not rows.is_live(needed):
                return f"look-ups show {name} and not {needed}, which it needs"
    return None


def what_is_left(state: State, world: World) -> str | None:
    """What must hold at the end, after a last gc; a sentence where it does not."""
    rows = Rows(state, world)
    if rows.by_name.keys() != rows.closure(state.refs):
        return f"after a last gc {sorted(rows.by_name.keys() ^ rows.closure(state.refs))} are there and not needed"
    lying = {pack for pack, _ in state.files}
    if not lying == state.entered == {row.pack for row in rows.by_name.values()}:
        return f"after a last gc the packs {sorted(lying)} lie there, of which {sorted(state.entered)} count"
    if state.leases or state.maintenance:
        return "after the last actor a lock is held"
    return None
