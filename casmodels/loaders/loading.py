"""From a version to a handle."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from json import JSONDecodeError
from typing import Any

from casmodels import config
from casmodels.errors import BrokenLoaderError, NotLoadableError
from casmodels.extras import first_line
from casmodels.library import Store
from casmodels.loaders import registry, room
from casmodels.loaders.checked import CheckedLoader
from casmodels.loaders.devices import choose
from casmodels.loaders.handle import LoadedModel, checked_batch_size
from casmodels.loaders.loader import Loaded, Loader, Request
from casmodels.loaders.local import LocalRunner, Origin
from casmodels.loaders.stored_model import StoredModel
from casmodels.runtime.memory_directories import without_paths
from casmodels.sources.gzipped import unpacked_name
from casstore.errors import InvalidInputError, StoreError

_log = logging.getLogger(__name__)


def load_model(
    store: Store,
    target: str,
    *,
    path: str | None = None,
    device: str | None = None,
    loader: str | None = None,
    isolated: bool = False,
    batch_size: int | None = None,
    force: bool = False,
    **options: Any,
) -> LoadedModel:
    """Load a version (NAME[@VERSION]) from the store.

    ``path`` is one file or directory of it. ``device`` is ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; unless it is given,
    a GPU is taken where there is one, if USE_GPU is not false. ``loader`` is the name of one; else the first that
    recognises the files. ``isolated`` loads it in a process of its own, which `LoadedModel.close` ends. ``batch_size``
    is the handle's default (BATCH_SIZE, else 8). ``force`` loads what seems not to fit in memory, too. ``options`` are
    the loader's own.

    Raises NotFoundError, NotLoadableError, UnsafeModelError, MissingExtraError, DeviceError, NoRoomError,
    BrokenLoaderError, ConfigurationError, WorkerDiedError.
    """
    settings = config.inference()
    size = checked_batch_size(settings.batch_size if batch_size is None else batch_size)
    if isolated:
        return _isolated(
            store, target, size, {"path": path, "device": device, "loader": loader, "force": force, **options}
        )
    model = StoredModel(store, target, path)
    chosen, files, devices = _chosen(model, loader, options)
    place = choose(device, devices, use_gpu=settings.use_gpu, what=f"the loader {chosen.name!r}")
    if not force:
        room.check(str(model), sum(model.unpacked_bytes(file) for file in files), place, chosen.copies)
    loaded = _loaded(chosen, model, Request(files, place), options)
    return LoadedModel(
        LocalRunner(chosen, loaded, place, Origin(model, files)),
        loader=chosen.name,
        version=model.contents.target,
        batch_size=size,
        logs=store.logs,
    )


def _isolated(store: Store, target: str, batch_size: int, options: dict[str, Any]) -> LoadedModel:
    from casmodels.loaders.isolation import IsolatedRunner

    version = store.contents(target).target
    runner = IsolatedRunner(store, version, options)
    return LoadedModel(runner, loader=runner.loader, version=version, batch_size=batch_size, logs=store.logs)


def _chosen(
    model: StoredModel, name: str | None, options: Mapping[str, object]
) -> tuple[Loader, tuple[str, ...], tuple[str, ...]]:
    """The loader, the files that it recognises, and its devices. One that is broken is left out, unless it is named."""
    for each in registry.all_loaders() if name is None else [registry.named(name)]:
        loader = CheckedLoader(each)
        try:
            files = loader.recognise(model)
            if files:
                _check_options(loader, options)
                return loader, files, loader.devices()
        except BrokenLoaderError as error:
            if name is not None or each.name in registry.BUILT_IN:
                raise
            _log.warning("%s; it is left out", error.message)
    what = "no loader recognises" if name is None else f"the loader {name!r} does not recognise"
    some = ", ".join(model.candidates[:5]) + (", …" if len(model.candidates) > 5 else "")
    raise NotLoadableError(f"{what} {model}, which holds {some}", remedy=f"see `casmodels ls {model}`, or say path=")


def _loaded(loader: Loader, model: StoredModel, request: Request, options: Mapping[str, Any]) -> Loaded:
    try:
        return loader.load(model, request, **options)
    except (StoreError, MemoryError):
        raise
    except Exception as error:  # each library has its own
        why = without_paths(first_line(error), str(model))
        is_the_systems = isinstance(error, OSError) and error.errno is not None
        if is_the_systems and not (isinstance(error, FileNotFoundError) and why != first_line(error)):
            raise  # no library's word for a file that it does not like, or for one that the version has not
        if isinstance(error, ValueError):
            _check_json(model, error)
        raise NotLoadableError(
            f"the loader {loader.name!r} cannot load {', '.join(request.files[:3])} of {model}: {why}",
            remedy="see whether the files are what their names say, or say loader=",
        ) from error


def _check_json(model: StoredModel, cause: ValueError) -> None:
    """Raise NotLoadableError for a file that is no JSON, where a library says no more than that there is one."""
    causes: list[BaseException] = [cause]
    while (before := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(before)
    if any(isinstance(each, JSONDecodeError) for each in causes):
        for path in sorted(model.sizes):
            if unpacked_name(path).endswith(".json"):
                try:
                    model.read_json_value(path)
                except NotLoadableError as error:
                    raise error from cause


def _check_options(loader: Loader, options: Mapping[str, object]) -> None:
    parameters = inspect.signature(loader.load).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return
    known = [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise InvalidInputError(
                f"the loader {loader.name!r} has no option {option!r}",
                remedy=f"it has {', '.join(known)}" if known else "it has none",
            )
