"""Checkouts: plain directories brought to a version by writing only what differs."""

from __future__ import annotations

import contextlib
import stat
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from casmodels.progress import Progress, SilentProgress
from casmodels.results import CheckoutResult
from casmodels.views.clashes import refuse_clashes, refuse_strays
from casmodels.views.clones import can_link, put_link
from casmodels.views.contents import Observer, link_blob, link_target
from casmodels.views.copies import Copies
from casmodels.views.history import History, read_tree
from casmodels.views.materialise import WORKERS, LinkMode, Materialiser, Wanted, Written
from casmodels.views.plans import Plan, Planner
from casmodels.views.targets import (
    alone,
    check_parents,
    check_space,
    make_parents,
    nameable,
    real_target,
    remove_temporaries,
    sync_content,
    sync_names,
)
from casstore import files
from casstore.catalog import Reader
from casstore.digests import Digest
from casstore.errors import FailedError, InvalidInputError, NotWritableError
from casstore.index.places import FileState, Place, PlaceKind, Places
from casstore.trees import Entry, EntryKind, Tree

_NAMED = 5
"""Paths that an error names; the rest it counts."""


class InTheWayError(FailedError):
    """The user's own files (``paths``) are where the version's would be, and nothing was written."""

    kind = "in-the-way"

    def __init__(self, directory: Path, paths: Sequence[str], *, remedy: str) -> None:
        shown = ", ".join(repr(path) for path in paths[:_NAMED])
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        super().__init__(f"in {directory} these are not the store's, and in the way: {shown}{more}", remedy=remedy)
        self.paths = tuple(paths)


@dataclass(frozen=True, slots=True)
class Checkout:
    """What is to be checked out: a version of a name, its tree, and patterns (none: everything) of paths; and whether
    the directory is the user's, or one of a view by category."""

    name: str
    version: Digest
    tree: Tree
    include: Sequence[str] = ()
    kind: PlaceKind = PlaceKind.CHECKOUT

    def takes(self, path: str) -> bool:
        """Whether a path is asked for. ``dir/`` stands for all that is in it, as with the Hub's patterns."""
        return not self.include or any(
            fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in self.include
        )


def checkout(
    reader: Reader,
    places: Places,
    store_directory: Path,
    wanted: Checkout,
    directory: Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> CheckoutResult:
    """Bring a directory, which need not exist, to a version.

    Files that differ are replaced one by one, whole; those that the version before had and this one has not are
    removed. What the user made or edited stays: in the way, it stops everything before a byte is written
    (InTheWayError), unless ``force``. Never writes through a link below the directory.

    Raises also InvalidInputError (the directory is a file, the store, or cannot hold these names), FullError,
    NotWritableError, NotFoundError, DamagedError.
    """
    started = time.monotonic()
    target = real_target(directory, store_directory)
    with nameable(), _made(target, wanted), alone(target):
        run = _Run(reader, places, wanted, target, progress or SilentProgress())
        plan = run.plan(force=force)
        written = run.carry_out(plan)
    taken = [entry for entry in wanted.tree.files if wanted.takes(entry.path)]
    return CheckoutResult(
        name=wanted.name,
        version=wanted.version.hex,
        path=str(target),
        files=len(taken),
        size_bytes=sum(entry.size_bytes for entry in taken),
        written_bytes=sum(one.wanted.size_bytes for one in written),
        written_files=len(written),
        seconds=time.monotonic() - started,
        kept=tuple(plan.kept),
    )


@contextlib.contextmanager
def _made(target: Path, wanted: Checkout) -> Iterator[None]:
    """See to it that the directory exists; if it is new and nothing comes of it, it goes again."""
    if target.is_dir():
        yield
        return
    check_space(target, sum(entry.size_bytes for entry in wanted.tree.files if wanted.takes(entry.path)))
    files.make_directory(target)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            target.rmdir()
        raise


class _Run:
    """One checkout, by the only one that is at the directory."""

    def __init__(self, reader: Reader, places: Places, wanted: Checkout, target: Path, progress: Progress) -> None:
        self._reader = reader
        self._places = places
        self._wanted = wanted
        self._target = target
        self._progress = progress
        # Notes made now are of this moment, whenever they are saved: what changes from here on is not trusted.
        self._started_ns = time.time_ns()
        self._place = places.load(target)
        self._observer = Observer(target, self._place)
        self._unfinished = dict(self._place.unfinished) if self._place is not None else {}
        self._left_alone: set[str] = set()
        kind = self._place.kind if self._place is not None else wanted.kind
        if kind is not wanted.kind and kind.is_view:
            raise InvalidInputError(f"{target} belongs to a view", remedy="choose another directory")

    def plan(self, *, force: bool) -> Plan:
        """Find out what to do. Raises InTheWayError, InvalidInputError or FullError; changes nothing."""
        wanted = [entry for entry in self._wanted.tree if self._wanted.takes(entry.path)]
        remove_temporaries(self._target)
        refuse_clashes([entry.path for entry in wanted], self._target)
        refuse_strays({entry.path: entry.target for entry in wanted if entry.kind is EntryKind.LINK}, self._target)
        names = [self._wanted.name] if self._place is None else [self._wanted.name, self._place.name]
        history = History(self._reader, names)
        before = self._before(history)
        self._left_alone = {path for path in before if not self._wanted.takes(path)}
        plan = Planner(self._target, self._observer, history, before).plan(wanted, self._left_alone)
        if plan.blocked:
            raise InTheWayError(self._target, plan.blocked, remedy="move them away; not even --force removes them")
        if plan.edited and not force:
            raise InTheWayError(self._target, plan.edited, remedy="move them away, or overwrite them with --force")
        if plan.links and not can_link(self._target):
            raise InvalidInputError(
                f"the file system of {self._target} has no links such as {plan.links[0].path!r}",
                remedy="choose a directory on another file system, or leave the links out with --include",
            )
        return plan

    def carry_out(self, plan: Plan) -> list[Written]:
        """Do it, and note what lies there now; when it fails on the way too, so that the next run reads less."""
        copies = Copies(self._places)
        materialiser = Materialiser(
            self._reader,
            self._target,
            self._target,
            copies,
            link=LinkMode.AUTO,
            started_ns=self._started_ns,
            progress=self._progress,
        )
        shared = {entry.path for entry in plan.files if copies.are_noted(entry.blob)}
        check_space(self._target, _peak_bytes(plan, shared if shared and materialiser.makes_reflinks else ()))
        self._settle(plan)
        before, coming = self._leaving(plan) | self._states(plan, []), self._coming(plan)
        if coming or self._place is None:
            # After a kill it is known what is no user's, be it that or this; and which names may not be on the disk.
            self._save(before, coming, complete=False)
        written: list[Written] = []
        try:
            self._remove(plan)
            self._progress.expect(len(plan.files), sum(entry.size_bytes for entry in plan.files))
            materialiser.write_all([self._file(entry) for entry in plan.files], written)
            self._make_others(plan)
            made = [entry.path for entry in (*plan.files, *plan.links, *plan.directories)]
            sync_names(self._target, [*made, *plan.removals, *plan.emptied])
        except BaseException:
            self._save(before, coming | {one.wanted.path: one.state for one in written}, complete=False)
            raise
        left = {path: state for path, state in self._unfinished.items() if path in self._left_alone}
        self._save(self._states(plan, written), left, complete=not self._wanted.include)
        return written

    def _before(self, history: History) -> set[str]:
        """The paths that a store wrote here: as noted, else those of the version that lies here complete."""
        if self._place is not None and (self._place.files or self._place.unfinished):
            tree = read_tree(self._reader, self._place.version)
            others = [entry.path for entry in tree or () if entry.kind is not EntryKind.FILE]
            return {*self._place.files, *self._place.unfinished, *others}
        if not any(self._target.iterdir()):
            return set()
        tree = history.tree_in(self._target, self._observer)
        return {entry.path for entry in tree or ()}

    def _file(self, entry: Entry) -> Wanted:
        assert entry.blob is not None
        label = f"{entry.path} of {self._wanted.name}@{self._wanted.version.hex[:12]}"
        return Wanted(entry.path, entry.blob, entry.size_bytes, entry.mode, label)

    def _remove(self, plan: Plan) -> None:
        for path in plan.removals:
            check_parents(self._target, path)
            files.unlink(self._target / path)
        for path in plan.emptied:
            check_parents(self._target, path)
            files.announce("rmdir", self._target / path)
            with contextlib.suppress(OSError):
                (self._target / path).rmdir()

    def _make_others(self, plan: Plan) -> None:
        """Everything but the files' content."""
        for entry in plan.links:
            make_parents(self._target, entry.path)
            put_link(self._target, self._target / entry.path, entry.target)
        for entry in plan.directories:
            make_parents(self._target, entry.path)
            files.announce("mkdir", self._target / entry.path)
            with files.translated(self._target / entry.path), contextlib.suppress(FileExistsError):
                (self._target / entry.path).mkdir()
                (self._target / entry.path).chmod(entry.mode)
        for entry in plan.modes:
            check_parents(self._target, entry.path)
            with files.translated(self._target / entry.path):
                (self._target / entry.path).chmod(entry.mode)

    def _settle(self, plan: Plan) -> None:
        """Bring to the disk what is there already and is relied upon: a run that was killed, or the user, may have put
        it there a moment ago."""
        for path in plan.right:
            with contextlib.suppress(OSError):
                if self._observer.known(path, (self._target / path).lstat()) is None:
                    sync_content(self._target / path)
        if self._place is None:
            made = {entry.path for entry in (*plan.files, *plan.links, *plan.directories)}
            there = (entry.path for entry in self._wanted.tree if self._wanted.takes(entry.path))
            sync_names(self._target, [path for path in there if path not in made])
            with contextlib.suppress(NotWritableError):  # a directory that may be entered and not be listed
                files.sync_directory(self._target.parent)
        else:
            sync_names(self._target, self._unfinished)

    def _states(self, plan: Plan, written: Sequence[Written]) -> dict[str, FileState]:
        """What is known of the directory's files now."""
        states = plan.right | {one.wanted.path: one.state for one in written}
        noted = {*self._place.files, *self._place.unfinished} if self._place is not None else set()
        for path in noted - states.keys():
            with contextlib.suppress(OSError):
                status = (self._target / path).lstat()
                # What was noted before is of another moment: it must still be sure, or it is read.
                known = self._observer.known(path, status)
                if path in self._left_alone:
                    blob = self._observer.digest(path, status)
                    if blob is not None and blob in {state.blob for state in self._observer.noted(path)}:
                        states[path] = FileState.of(status, blob)
                elif known is not None:
                    states[path] = known
        return states

    def _coming(self, plan: Plan) -> dict[str, FileState]:
        """What is going to be made or to go, in states that no file has; and what a run that was cut short was at, as
        this one may be."""
        made = {
            entry.path: FileState(entry.size_bytes, 0, 0, entry.blob or link_blob(entry.target))
            for entry in [*plan.files, *plan.links, *plan.directories]
        }
        leaving = self._leaving(plan)
        going = {path: leaving[path] for path in [*plan.removals, *plan.emptied] if path in leaving}
        return self._unfinished | going | made

    def _leaving(self, plan: Plan) -> dict[str, FileState]:
        """What the store wrote and is going to be replaced or removed, in states that no file has either."""
        states = {}
        for path in {*plan.freed_bytes, *plan.emptied} - {*plan.edited}:
            with contextlib.suppress(OSError):
                status = (self._target / path).lstat()
                # Of directories only the path matters.
                link = link_target(self._target / path) if stat.S_ISLNK(status.st_mode) else ""
                blob = self._observer.digest(path, status) or link_blob(link)
                states[path] = FileState(status.st_size, 0, 0, blob)
        return states

    def _save(self, states: Mapping[str, FileState], unfinished: Mapping[str, FileState], *, complete: bool) -> None:
        name, version = self._wanted.name, self._wanted.version
        if self._place is not None and not complete:
            # A part of one version amid another is still that other, with some files of its own.
            name, version = self._place.name, self._place.version
        place = Place(
            str(self._target), self._wanted.kind, name, version, states, self._started_ns, time.time_ns(), unfinished
        )
        self._places.save(place)


def _peak_bytes(plan: Plan, shared: Collection[str]) -> int:
    """How much more will lie there at the worst moment, while new files and the ones they replace are both there."""
    now_bytes = -sum(plan.freed_bytes.get(path, 0) for path in plan.removals)
    peak_bytes = 0
    for position, entry in enumerate(plan.files):
        now_bytes += 0 if entry.path in shared else entry.size_bytes
        peak_bytes = max(peak_bytes, now_bytes)
        if position >= WORKERS - 1:
            replaced = plan.files[position - WORKERS + 1]
            now_bytes -= plan.freed_bytes.get(replaced.path, 0)
    return peak_bytes
