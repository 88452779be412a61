"""Downloading models from a program with an event loop."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final

from casmodels import config as configuration
from casmodels.addresses import shown_model
from casmodels.cancellation import Cancellation
from casmodels.errors import with_remedy
from casmodels.events import log_event
from casmodels.library import PullOptions, Store
from casmodels.manager.background import Background
from casmodels.manager.reporting import LoopReport, ProgressCallback
from casmodels.manager.results import DownloadResult
from casmodels.registry import Registry
from casmodels.results import CleanupResult, ModelResult, PullResult, PullStatus, TakeInResult
from casstore.errors import InvalidInputError, StoreError
from casstore.layout import Layout

OLD_FOLDER: Final = "~/.cache/slice_models"
"""Where the program kept its models that had this interface before."""

_log = logging.getLogger(__name__)


class ModelDownloader:
    """Downloads models into a store without blocking the event loop; use it with ``with``, or close it.

    ``cache_dir`` is a directory for a store of its own (``store``) and its view (``store-view``); without it they are
    where the configuration says. One model is downloaded at a time, in the order in which they were asked for, also
    when several tasks ask at once, and by ``workers`` threads: as many as the configuration says, else one.
    ``low_priority`` None is what the configuration says: yes, unless it was changed. ``logs_dir`` is where the logs are
    written, as ``models/download.log``; else where the configuration says, if it does. Raises ConfigurationError,
    InvalidInputError.
    """

    def __init__(
        self,
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        registry: Registry | None = None,
        workers: int | None = None,
        low_priority: bool | None = None,
        logs_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        store = Path(cache_dir) / "store" if cache_dir is not None else None
        self._config = configuration.load(store=store, logs=Path(logs_dir) if logs_dir is not None else None)
        if cache_dir is not None and Layout(self._config.store_path.parent).mark.exists():
            raise InvalidInputError(
                f"{cache_dir} is a store itself",
                remedy="name the directory above it, or set CASMODELS_HOME to the store",
            )
        self._registry = registry if registry is not None else Registry.from_config(self._config)
        self._options = PullOptions(
            workers=_checked_workers(workers) or self._config.workers or 1, low_priority=low_priority, view=True
        )
        self._background = Background()

    @property
    def registry(self) -> Registry:
        """The models that are known; ``registry.register_model(spec)`` makes another one known."""
        return self._registry

    @property
    def aliases(self) -> dict[str, str]:
        """Every alias and the id that it stands for."""
        return self._registry.aliases()

    async def download_model(self, model: str, *, progress: ProgressCallback | None = None) -> DownloadResult:
        """Bring a model into the store and its view: an alias, an id, ``org/name[@revision]``, a URL or a directory.

        What fails is a result with an error. ``progress(model, done_bytes, total_bytes)`` is called in this thread. A
        cancelled download leaves nothing unfinished behind.
        """
        report = LoopReport(_checked_name(model), progress)
        result = await self._background.run(lambda cancellation: self._download(model, report, cancellation))
        report.end()
        return result

    async def download_multiple_models(
        self, models: Iterable[str], *, progress: ProgressCallback | None = None
    ) -> list[DownloadResult]:
        """One model after the other, with the results in their order; one that fails does not stop the next."""
        if isinstance(models, str):
            raise TypeError("several models are given as a list; download_model takes one")
        named = [_checked_name(model) for model in models]
        return [await self.download_model(model, progress=progress) for model in named]

    async def take_in(
        self, folder: str | os.PathLike[str] = OLD_FOLDER, *, progress: ProgressCallback | None = None
    ) -> list[TakeInResult]:
        """Save the models of a folder that another program kept under their Hub ids, and say what became of each.

        Known are Hub caches, and directories that are called after a registered model or a Hub id. The folder is not
        written to. A later download fetches only what differs or is missing. Raises NotFoundError or InvalidInputError
        for a folder that does not exist, is empty, or holds this very store.
        """
        report = LoopReport(str(folder), progress)

        def take_in(cancellation: Cancellation) -> list[TakeInResult]:
            with self._store() as store:
                return store.take_in(Path(folder), self._options, report, cancellation)

        results = await self._background.run(take_in)
        report.end()
        return results

    def is_model_downloaded(self, model: str) -> bool:
        """Whether the store has all files that a download of an alias, id or name takes; nobody is asked for it."""
        with self._store() as store:
            return store.has(_checked_name(model))

    def list_models(self) -> list[ModelResult]:
        """The models that are here."""
        with self._store() as store:
            return store.list()

    def cleanup(self) -> CleanupResult:
        """Remove what downloads that were killed left unfinished."""
        with self._store() as store:
            return store.cleanup()

    def close(self) -> None:
        """Cancel what is under way, which ends as failed, and wait for that, for some seconds at most."""
        self._background.close()

    def __enter__(self) -> ModelDownloader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _store(self) -> Store:
        return Store(config=self._config, registry=self._registry)

    def _download(self, model: str, report: LoopReport, cancellation: Cancellation) -> DownloadResult:
        begun = time.monotonic()
        try:
            with self._store() as store:
                (pulled,) = store.pull([model], self._options, report, cancellation)
            result = _result(pulled)
        except StoreError as error:
            result = DownloadResult(model, PullStatus.FAILED, error=with_remedy(error.message, error.remedy))
        except Exception as error:
            _log.exception("downloading a model failed unexpectedly")
            result = DownloadResult(model, PullStatus.FAILED, error=f"unexpected error: {_told(error)}")
        result = replace(result, duration_seconds=time.monotonic() - begun)
        _log_result(result, is_wanted=not cancellation.is_asked)
        return result


def _checked_name(model: object) -> str:
    if not isinstance(model, str):
        raise TypeError(f"a model is named by a str, not {type(model).__name__}")
    return model


def _checked_workers(workers: int | None) -> int | None:
    if workers is not None and not 1 <= workers <= configuration.MAX_WORKERS:
        raise InvalidInputError(f"workers must be from 1 to {configuration.MAX_WORKERS}, not {workers}")
    return workers


def _result(pulled: PullResult) -> DownloadResult:
    return DownloadResult(
        model=pulled.model,
        status=pulled.status,
        path=pulled.path,
        size_bytes=pulled.size_bytes,
        downloaded_bytes=pulled.downloaded_bytes,
        error=with_remedy(pulled.error.message, pulled.error.remedy) if pulled.error is not None else None,
    )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _log_result(result: DownloadResult, *, is_wanted: bool) -> None:
    log_event(
        {
            "logger": __name__,
            "level": "error" if result.error is not None and is_wanted else "info",
            "model": shown_model(result.model),
            "status": result.status.value,
            "path": result.path,
            "size_bytes": result.size_bytes,
            "duration_seconds": round(result.duration_seconds, 3),
            "error": result.error,
        }
    )
