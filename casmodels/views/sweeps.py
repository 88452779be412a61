"""Taking views away: a model's folder, what was not used for long, what killed runs left."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from casmodels.results import CleanupResult
from casmodels.views.contents import Observer, link_destination
from casmodels.views.hub_cache import HubView
from casmodels.views.layout import BLOBS, NO_EXIST, REFS, SNAPSHOTS, TREES
from casmodels.views.targets import alone, is_temporary, temporaries
from casstore import files
from casstore.errors import BusyError, NotFoundError
from casstore.index.places import Place, PlaceKind, Places

_DAY_NS: Final = 86_400 * 10**9


@dataclass
class _Sweep:
    """What went and what stayed. Nothing is touched with ``dry_run``."""

    dry_run: bool = False
    reclaimed_bytes: int = 0
    removed: int = 0
    kept: dict[str, None] = field(default_factory=dict)

    def keep(self, path: Path) -> None:
        """Name a file that stays because the store did not make it as it is."""
        self.kept[str(path)] = None

    def remove(self, path: Path, status: os.stat_result) -> None:
        """Remove a file or link; its bytes count if this was its last name."""
        if not self.dry_run:
            files.unlink(path)
        self.removed += 1
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            self.reclaimed_bytes += status.st_size

    def remove_temporaries(self, directory: Path) -> None:
        """Remove what was left unfinished in a directory."""
        for path in temporaries(directory):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                for inside in path.iterdir():
                    self.remove(inside, inside.lstat())
                if not self.dry_run:
                    path.rmdir()
            else:
                self.remove(path, status)

    def result(self) -> CleanupResult:
        """The sums."""
        return CleanupResult(self.reclaimed_bytes, self.removed, tuple(self.kept), self.dry_run)


def remove_models(view: HubView, places: Places, names: Sequence[str] = (), *, dry_run: bool = False) -> CleanupResult:
    """Take models (none: all) out of a view: the files that the store made there, and what then means nothing.

    What others put there, and what they changed, is kept and named. Raises NotFoundError before anything goes.
    """
    present = {place.name: place for place in view.places()}
    for name in names:
        if name not in present:
            raise NotFoundError(f"{name} is not in the view {view.home}", remedy="`casmodels view` shows what is")
    sweep = _Sweep(dry_run)
    for name in names or sorted(present):
        _remove_folder(sweep, places, present[name])
    if not dry_run:
        view.vanish_if_empty()
    return sweep.result()


def remove_checkout(places: Places, place: Place) -> CleanupResult:
    """Remove the files of a plain directory that the store wrote there and that still are what they were; the directory
    goes if nothing is left in it. What others put there, and what they changed, is kept and named."""
    sweep = _Sweep()
    _remove_folder(sweep, places, place)
    return sweep.result()


def drop_unused(places: Places, days: float, *, dry_run: bool = False) -> CleanupResult:
    """Take out of every view what neither casmodels nor anybody else has used for so many days.

    Others' use shows in the times of last access, as far as the file system keeps them.
    """
    before_ns = time.time_ns() - int(days * _DAY_NS)
    sweep = _Sweep(dry_run)
    for place in places.all():
        if place.kind.is_view and _last_used_ns(place) < before_ns:
            with contextlib.suppress(BusyError):  # it is being used this very moment
                _remove_folder(sweep, places, place, wait=False)
    return sweep.result()


def cleanup(places: Places, *, dry_run: bool = False) -> CleanupResult:
    """Remove what killed runs left in views and checkouts; what is being written right now is left alone.

    In views also blobs that the store made and no snapshot needs; of others' files those that look left over are named.
    """
    sweep = _Sweep(dry_run)
    for place in places.all():
        directory = Path(place.path)
        if not directory.is_dir():
            if place.kind.is_view and not dry_run:
                places.forget(directory)
            continue
        with contextlib.suppress(BusyError), alone(directory, wait=False):
            if place.kind is PlaceKind.VIEW:
                _tidy_folder(sweep, places, place)
            else:
                sweep.remove_temporaries(directory)
    return sweep.result()


def _last_used_ns(place: Place) -> int:
    times = [place.used_ns]
    for path in place.files:
        with contextlib.suppress(OSError):
            times.append((Path(place.path) / path).lstat().st_atime_ns)
    return max(times)


def _remove_folder(sweep: _Sweep, places: Places, place: Place, *, wait: bool = True) -> None:
    directory = Path(place.path)
    if directory.is_dir():
        with alone(directory, wait=wait):
            if place.kind is PlaceKind.VIEW:
                _empty_folder(sweep, directory, place)
            else:
                _empty_checkout(sweep, directory, place)
    if not sweep.dry_run:
        places.forget(directory)


def _empty_folder(sweep: _Sweep, directory: Path, place: Place) -> None:
    going = _files_to_go(sweep, directory, place)
    links, commits_left = _links_to_go(sweep, directory, going)
    # First the names, then what they name, so that nobody finds half a snapshot by a ref.
    for path, commit in _about_commits(directory):
        if commit not in commits_left:
            sweep.remove(path, path.lstat())
    for path, status in (links | going).items():
        sweep.remove(path, status)
    sweep.remove_temporaries(directory / BLOBS)
    for path in _walk(directory / BLOBS):
        if path not in going and not is_temporary(path.name):
            sweep.keep(path)
    if not sweep.dry_run:
        _remove_empty(directory)


def _empty_checkout(sweep: _Sweep, directory: Path, place: Place) -> None:
    sweep.remove_temporaries(directory)
    links = [path for path in _walk(directory) if path.is_symlink() and path.exists()]
    for path, status in _files_to_go(sweep, directory, place).items():
        sweep.remove(path, status)
    if sweep.dry_run:
        return
    _remove_empty(directory)
    # What led to what went leads nowhere; links to directories of links are why this is done again.
    while dead := [path for path in links if path.is_symlink() and not path.exists()]:
        for path in dead:
            sweep.remove(path, path.lstat())
        _remove_empty(directory)
    for path in _walk(directory):
        sweep.keep(path)


def _files_to_go(sweep: _Sweep, directory: Path, place: Place) -> dict[Path, os.stat_result]:
    """The files that the store made and that still are what they were; the changed ones are kept."""
    observer = Observer(directory, place)
    going = {}
    for name in {**place.files, **place.unfinished}:
        path = directory / name
        status = _status(path)
        if status is None:
            continue
        states = observer.noted(name) if stat.S_ISREG(status.st_mode) else ()
        if any(observer.holds(name, status, state.blob, state.size_bytes) for state in states):
            going[path] = status
        else:
            sweep.keep(path)
    return going


def _links_to_go(sweep: _Sweep, directory: Path, going: Container[Path]) -> tuple[dict[Path, os.stat_result], set[str]]:
    """The snapshots' links that would lead nowhere, and the commits of whose snapshots something stays."""
    links, commits_left = {}, set()
    for path in _walk(directory / SNAPSHOTS):
        if path in going:
            continue
        target = link_destination(path) if path.is_symlink() else None
        if target is not None and (target in going or _status(target) is None):
            links[path] = path.lstat()
            continue
        commits_left.add(path.relative_to(directory / SNAPSHOTS).parts[0])
        if target is None or target.parent != directory / BLOBS:
            sweep.keep(path)
    return links, commits_left


def _tidy_folder(sweep: _Sweep, places: Places, place: Place) -> None:
    directory = Path(place.path)
    needed = {link_destination(path) for path in _walk(directory / SNAPSHOTS) if path.is_symlink()}
    sweep.remove_temporaries(directory / BLOBS)
    observer = Observer(directory, place)
    files_left = dict(place.files)
    for path in _walk(directory / BLOBS):
        if path in needed or path.is_symlink():
            continue
        name = path.relative_to(directory).as_posix()
        state, status = files_left.get(name), path.lstat()
        if state is not None and observer.holds(name, status, state.blob, state.size_bytes):
            sweep.remove(path, status)
            del files_left[name]
        else:
            sweep.keep(path)
    if len(files_left) < len(place.files) and not sweep.dry_run:
        places.save(replace(place, files=files_left))


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _walk(directory: Path) -> Iterator[Path]:
    """All that lies below a directory and is no directory; links are not followed."""
    for here, folders, names in os.walk(directory):
        links = [name for name in folders if (Path(here) / name).is_symlink()]
        yield from (Path(here) / name for name in sorted(names + links))


def _about_commits(directory: Path) -> Iterator[tuple[Path, str]]:
    """The small files that only say something about a commit: refs, listings, what is known not to exist."""
    for path in _walk(directory / REFS):
        if path.is_file():
            with path.open("rb") as file:
                yield path, file.read(41).decode("ascii", "replace").strip()
    for path in _walk(directory / TREES):
        yield path, path.stem
    for path in _walk(directory / NO_EXIST):
        yield path, path.relative_to(directory / NO_EXIST).parts[0]


def _remove_empty(directory: Path) -> None:
    for here, _, _ in os.walk(directory, topdown=False):
        with contextlib.suppress(OSError):
            Path(here).rmdir()
