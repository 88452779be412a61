"""The view by category: a directory of models in which each lies as a plain directory, in the folder of its type."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from casmodels.configs.folders import ALWAYS, CONFIGS, FOLDERS, HUB_CACHE, OTHER
from casmodels.progress import Progress
from casmodels.results import CleanupResult
from casmodels.views import sweeps
from casmodels.views.checkouts import Checkout, InTheWayError, checkout
from casmodels.views.clones import can_clone, temporary_in
from casmodels.views.contents import Observer
from casmodels.views.copies import Copies
from casmodels.views.hub_cache import HubView, occupied_bytes
from casmodels.views.materialise import LinkMode
from casmodels.views.targets import alone, check_space, nearest_existing, real_target, remove_temporaries
from casstore import files
from casstore.catalog import Reader
from casstore.digests import sha256_digest
from casstore.errors import NotFoundError
from casstore.index.places import FileState, Place, PlaceKind, Places


@dataclass(frozen=True, slots=True)
class Shelved:
    """A version that is to lie in the view: in ``folder`` (``audio/whisper``) under its ``short_name``, and with
    ``in_hub_cache`` in the Hub view there, too."""

    wanted: Checkout
    folder: str
    short_name: str
    in_hub_cache: bool

    @property
    def path(self) -> str:
        """Its directory, from the view's own on."""
        return f"{self.folder}/{self.short_name}"

    @property
    def size_bytes(self) -> int:
        """What its files take."""
        return sum(entry.size_bytes for entry in self.wanted.tree.files)


class CategoryView:
    """One view by category at a directory, which need not exist."""

    def __init__(self, directory: Path, store_directory: Path, places: Places) -> None:
        self.directory = directory.absolute()
        self.hub_view = HubView(self.directory / HUB_CACHE, store_directory, places)
        self._store_directory = store_directory
        self._places = places

    def check(self) -> None:
        """Raise InvalidInputError when the directory cannot be a view: the store, a file, or with somebody else's Hub
        cache in it."""
        real_target(self.directory, self._store_directory)
        self.hub_view.check()

    def bring(
        self,
        reader: Reader,
        models: Sequence[Shelved],
        configs: Mapping[str, bytes],
        *,
        link: LinkMode = LinkMode.AUTO,
        progress: Progress | None = None,
    ) -> tuple[str, ...]:
        """Bring the view to these models, and to files below `CONFIGS` that nobody has edited; gives what is the
        user's, and was left as it is.

        Raises as `checkout` and `HubView.add`, but for files in the way; FullError before anything is written.
        """
        self.check()
        self._check_space(models, link)
        for folder in (*ALWAYS, HUB_CACHE, CONFIGS):
            files.make_directory(self.directory / folder)
        wanted = {self._real(model.path): model for model in models}
        kept: list[str] = []
        for place in self._model_places():
            model = wanted.get(Path(place.path))
            if model is None or model.wanted.name != place.name:
                kept += sweeps.remove_checkout(self._places, place).kept
        for model in models:
            kept += self._bring_one(reader, model, progress)
        in_hub = [(model.wanted.name, model.wanted.version) for model in models if model.in_hub_cache]
        kept += self.hub_view.add(reader, in_hub, link=link, progress=progress).kept
        gone = set(self.hub_view.models()) - {model.wanted.name for model in models}
        if gone:
            kept += sweeps.remove_models(self.hub_view, self._places, sorted(gone)).kept
        return (*kept, *self._write_configs(configs))

    def remove(self) -> CleanupResult:
        """Take away what the store made here. What others made or changed is kept and named.

        Raises NotFoundError when the store made nothing here.
        """
        noted = [*self._model_places(), *self._noted()]
        if not noted and not self.hub_view.places():
            raise NotFoundError(f"{self.directory} is no view by category of this store", remedy="check the directory")
        results = [sweeps.remove_checkout(self._places, place) for place in noted]
        results.append(sweeps.remove_models(self.hub_view, self._places))
        # From the deepest folder up, as far as they are empty; a user's file keeps those above it.
        folders = {Path(folder) for folder in (*FOLDERS.values(), OTHER, HUB_CACHE, CONFIGS)}
        folders |= {parent for folder in folders for parent in folder.parents}
        for folder in sorted(folders, key=lambda folder: -len(folder.parts)):
            with contextlib.suppress(OSError):
                files.announce("rmdir", self.directory / folder)
                (self.directory / folder).rmdir()
        kept = [path for result in results for path in result.kept]
        return CleanupResult(
            sum(result.reclaimed_bytes for result in results), sum(result.removed for result in results), tuple(kept)
        )

    def models(self) -> dict[str, str]:
        """The names of the models that lie here, and their directories from the view's own on."""
        folders = self._folders()
        paths = {place.name: Path(place.path) for place in self._model_places()}
        return {name: f"{folders[path.parent]}/{path.name}" for name, path in paths.items() if path.is_dir()}

    @property
    def size_bytes(self) -> int:
        """What the files here take that the store made."""
        return occupied_bytes([*self._model_places(), *self._noted(), *self.hub_view.places()])

    def _real(self, path: str) -> Path:
        """A path below the view with the links of its folders followed: the user may keep one of them elsewhere."""
        folder, _, name = path.rpartition("/")
        return (self.directory / folder).resolve() / name

    def _folders(self) -> dict[Path, str]:
        """The folders of models by where they really are."""
        return {(self.directory / folder).resolve(): folder for folder in (*FOLDERS.values(), OTHER)}

    def _model_places(self) -> list[Place]:
        folders = self._folders()
        return [place for place in self._places.all(PlaceKind.CATEGORY) if Path(place.path).parent in folders]

    def _noted(self) -> Iterator[Place]:
        """What is noted of the folder of configurations."""
        place = self._places.load(self.directory / CONFIGS)
        if place is not None and place.kind is PlaceKind.CATEGORY:
            yield place

    def _bring_one(self, reader: Reader, model: Shelved, progress: Progress | None) -> list[str]:
        directory = self.directory / model.path
        place = self._places.load(directory)
        if directory.is_symlink() or (place is not None and place.kind is not PlaceKind.CATEGORY):
            return [str(directory)]  # a checkout of the user's own
        if directory.exists() and not directory.is_dir():
            return [str(directory)]
        try:
            checkout(reader, self._places, self._store_directory, model.wanted, directory, progress=progress)
        except InTheWayError as error:
            return [str(directory / path) for path in error.paths]
        return []

    def _check_space(self, models: Sequence[Shelved], link: LinkMode) -> None:
        """Before the first byte: room for all that does not lie here yet, twice for what lies in the Hub view too
        where two files cannot share their bytes."""
        here = {(place.name, place.version) for place in self._model_places() if Path(place.path).is_dir()}
        in_hub = {place.name for place in self.hub_view.places()}
        copies = Copies(self._places)
        shares = can_clone(nearest_existing(self.directory.resolve()))
        needed_bytes = 0
        for model in models:
            once = (model.wanted.name, model.wanted.version) not in here
            again = (
                model.in_hub_cache and model.wanted.name not in in_hub and not (shares and link is not LinkMode.COPY)
            )
            for entry in model.wanted.tree.files:
                shared = shares and copies.are_noted(entry.blob)
                needed_bytes += entry.size_bytes * ((once and not shared) + again)
        check_space(self.directory, needed_bytes)

    def _write_configs(self, contents: Mapping[str, bytes]) -> list[str]:
        """Write the files that are not there or still are as the store wrote them; gives the others."""
        directory = self.directory / CONFIGS
        with alone(directory):
            remove_temporaries(directory)
            place = self._places.load(directory)
            observer = Observer(directory, place)
            noted = dict(place.files) if place is not None else {}
            coming = {name: FileState(len(data), 0, 0, sha256_digest(data)) for name, data in contents.items()}
            ours = [name for name in contents if _is_ours(directory / name, observer)]
            changed = [name for name in ours if not _holds(directory / name, observer, coming[name])]
            if changed:
                # After a kill it is known what is no user's, be it that or this.
                self._note(directory, noted, {name: coming[name] for name in changed})
                for name in changed:
                    files.write_atomically(directory / name, contents[name], temporary=temporary_in(directory))
                    noted[name] = FileState.of((directory / name).lstat(), coming[name].blob)
                self._note(directory, noted, {})
            kept = contents.keys() - ours
            return [
                str(directory / name) for name in sorted(kept) if not _holds(directory / name, observer, coming[name])
            ]

    def _note(self, directory: Path, states: Mapping[str, FileState], unfinished: Mapping[str, FileState]) -> None:
        now_ns = time.time_ns()
        of_nothing = sha256_digest(b"")  # they are files of no version
        self._places.save(
            Place(str(directory.resolve()), PlaceKind.CATEGORY, CONFIGS, of_nothing, states, now_ns, now_ns, unfinished)
        )


def _is_ours(path: Path, observer: Observer) -> bool:
    """Whether nothing is there, or what the store wrote."""
    return not os.path.lexists(path) or any(_holds(path, observer, state) for state in observer.noted(path.name))


def _holds(path: Path, observer: Observer, state: FileState) -> bool:
    try:
        return observer.holds(path.name, path.lstat(), state.blob, state.size_bytes)
    except FileNotFoundError:
        return False
