"""Models by name: downloaded, loaded and unloaded."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from casmodels import config as configuration
from casmodels.configs.model_configs import ModelConfig, read_model_configs
from casmodels.errors import DownloadFailedError, NotLoadedError, NotQuantisableError
from casmodels.library import PullOptions, Store
from casmodels.loaders import LoadedModel, load_model
from casmodels.progress import Progress
from casmodels.registry import Registry
from casmodels.results import PullResult
from casstore.errors import InvalidInputError

_DTYPES: Final = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
"""What a file of configurations calls them, and what the loaders' libraries do."""

_QUANTISED: Final = ("fp8", "int8", "int4")
"""To these a model is quantised after it was loaded."""


class ModelManager:
    """Brings models into a store, and keeps those that are loaded from it; use it with ``with``, or close it.

    ``cache_dir`` is a directory for a store of its own (``store``) and its view; without it they are where the
    configuration says. ``configs`` is a `model_configs.json`, which says how models are to be run. ``logs_dir`` is
    where the logs are written, as ``models/download.log`` and its like; else where the configuration says, if it does.
    Safe for threads.
    Raises ConfigurationError, and NotFoundError when there is no such file.
    """

    def __init__(
        self,
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        configs: str | os.PathLike[str] | None = None,
        registry: Registry | None = None,
        logs_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        config = configuration.load(
            store=Path(cache_dir) / "store" if cache_dir is not None else None,
            logs=Path(logs_dir) if logs_dir is not None else None,
        )
        self._registry = registry if registry is not None else Registry.from_config(config)
        found = read_model_configs(Path(configs)) if configs is not None else {}
        self._configs = {self._key(name): model_config for name, model_config in found.items()}
        self._store = Store(config=config, registry=self._registry)
        self._lock = threading.RLock()
        self._loaded: dict[str, tuple[LoadedModel, dict[str, Any]]] = {}
        """Each with the options that it was loaded with."""

    @property
    def registry(self) -> Registry:
        """The models that are known."""
        return self._registry

    @property
    def store(self) -> Store:
        """Where the models are."""
        return self._store

    @property
    def loaded(self) -> tuple[str, ...]:
        """The names of the models that are loaded: the registered ids, for aliases too."""
        with self._lock:
            return tuple(self._still_loaded())

    def download_model(self, name: str, *, progress: Progress | None = None) -> PullResult:
        """Bring a model into the store, as `Store.pull` does; what is here already is not fetched again.

        Blocks until it is here; `ModelDownloader` is for event loops. Raises DownloadFailedError, UnusableStoreError.
        """
        (result,) = self._store.pull([name], PullOptions(), progress)
        if result.error is not None:
            raise DownloadFailedError(name, result.error.kind, result.error.message, result.error.remedy)
        return result

    def load_model(self, name: str, device: str | None = None, **options: Any) -> LoadedModel:
        """Load a model that is in the store; one that is loaded already is given again, on the device that is named.

        What is not said here is as the file of configurations says. Raises what `casmodels.load_model` raises, and
        InvalidInputError for other options while it is loaded.
        """
        with self._lock:
            key = self._key(name)
            if key not in self._still_loaded():
                loaded = self._load(key, name, device, options)
                self._loaded[key] = loaded, options
                return loaded
            loaded, before = self._loaded[key]
            if options and options != before:
                raise InvalidInputError(
                    f"{name} is loaded already, and options hold from when it is loaded",
                    remedy=f"unload_model({name!r}) first",
                )
            return loaded if device is None else loaded.to(device)

    def unload_model(self, name: str) -> None:
        """Unload a model; whoever else still has its handle cannot use it any more. Raises NotLoadedError."""
        with self._lock:
            key = self._key(name)
            if key not in self._still_loaded():
                raise NotLoadedError(name, self.loaded)
            loaded, _ = self._loaded.pop(key)
            loaded.close()

    def close(self) -> None:
        """Unload everything, and close the store."""
        with self._lock:
            while self._loaded:
                _, (loaded, _) = self._loaded.popitem()
                loaded.close()
            self._store.close()

    def __enter__(self) -> ModelManager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _still_loaded(self) -> Iterable[str]:
        """Forget those whose handle somebody has closed, or whose worker has died; gives the others."""
        for key in [key for key, (loaded, _) in self._loaded.items() if loaded.closed]:
            del self._loaded[key]
        return self._loaded.keys()

    def _key(self, name: str) -> str:
        """One word for all names of a model: of a registered one its id."""
        base, at, version = name.partition("@")
        spec = self._registry.find(base)
        return f"{spec.id if spec is not None else base}{at}{version}"

    def _load(self, key: str, name: str, device: str | None, options: dict[str, Any]) -> LoadedModel:
        """Load a model, and quantise it where the configuration says so."""
        settings, config = self._settings(key, device, options), self._config(key)
        if config.dtype not in _QUANTISED or "dtype" in settings:
            return load_model(self._store, name, **settings)
        from casmodels.quantising import quantize_model
        from casmodels.quantising.dtypes import checked_dtype

        try:
            checked_dtype(config.dtype)
            with load_model(self._store, name, **settings) as loaded:
                return quantize_model(loaded, config.dtype)
        except NotQuantisableError as error:
            raise NotQuantisableError(f"{config.where}: {error.message}", remedy=error.remedy) from error

    def _config(self, key: str) -> ModelConfig:
        return self._configs.get(key) or self._configs.get(key.partition("@")[0]) or ModelConfig()

    def _settings(self, key: str, device: str | None, options: dict[str, Any]) -> dict[str, Any]:
        """What `casmodels.load_model` is told: the configuration's, and over it what was said."""
        config = self._config(key)
        configured = {
            "device": config.device,
            "batch_size": config.batch_size,
            "isolated": config.isolated,
            "dtype": _DTYPES.get(config.dtype or ""),
            **config.options,
        }
        given = {"device": device, **options}
        wanted = {**configured, **{option: value for option, value in given.items() if value is not None}}
        return {option: value for option, value in wanted.items() if value is not None}
