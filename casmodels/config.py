"""Configuration: the only reader of the environment.

A value comes from the command line, else the environment, else the configuration file, else the default. The
configuration file is TOML::

    store = "~/models"          # where the store is; relative paths count from this file
    workers = 4                 # threads of a pull
    low_priority = true         # pulls at the lowest priority
    deltas = true               # chunks are stored against similar ones
    endpoint = "https://hub"    # asked instead of the Hub
    mirror = "https://mirror"   # asked before the Hub
    logs = "~/logs"             # where logs of models are written; nowhere unless it is set

    [models.my-model]           # a model of the user's own, with the fields of ModelSpec
    type = "text-embedding"
    huggingface_id = "org/name"
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from casmodels.errors import ConfigurationError
from casmodels.settings_file import SettingsFile, read_settings

HUB_ENDPOINT: Final = "https://huggingface.co"
MAX_WORKERS: Final = 64

_TRUE: Final = {"1", "ON", "YES", "TRUE"}
_FALSE: Final = {"0", "OFF", "NO", "FALSE"}
_BATCH_SIZE: Final = re.compile(r"[1-9][0-9]{0,8}\Z")
_TOKEN_LIMIT_BYTES: Final = 64 * 1024


class Secret:
    """A string that shows itself only when asked to."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written down")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that speaks the Hub's API. A mirror never gets the token, and its digests are second-hand."""

    url: str
    mirror: bool = False


@dataclass(frozen=True, slots=True)
class ModelTable:
    """A ``[models.<id>]`` table as it stands; ``where`` names file, line and entry for messages."""

    id: str
    fields: Mapping[str, object]
    where: str


@dataclass(frozen=True, slots=True)
class Config:
    """What the user has set. Paths are absolute.

    ``endpoints`` are asked in order; the last is no mirror. ``workers`` None means: as many as the work deserves.
    """

    store_path: Path
    config_file: Path
    endpoints: tuple[Endpoint, ...]
    offline: bool
    no_color: bool
    json_logs: bool
    low_priority: bool
    deltas: bool
    workers: int | None
    token_file: Path
    logs: Path | None = None
    models: tuple[ModelTable, ...] = ()
    token_variable: Secret | None = None
    implicit_token: bool = True
    hub_cache_is_set: bool = False
    """HF_HUB_CACHE is set: it beats HF_HOME, so whoever changes the one must change the other."""

    @property
    def endpoint(self) -> str:
        """The address that is no mirror: the only one that gets the token."""
        return self.endpoints[-1].url

    @property
    def mirror(self) -> str | None:
        """The address that is asked before `endpoint`, if any."""
        return self.endpoints[0].url if self.endpoints[0].mirror else None

    def token(self) -> Secret | None:
        """The Hub token: HF_TOKEN, else the token file, read only now. Raises ConfigurationError."""
        if not self.implicit_token:
            return None
        if self.token_variable is not None:
            return _checked_token(self.token_variable.reveal(), "HF_TOKEN")
        try:
            with self.token_file.open("rb") as file:
                data = file.read(_TOKEN_LIMIT_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            what = f"the token file {self.token_file} cannot be read: {error.strerror}"
            raise ConfigurationError(what, remedy="mend the file or set HF_TOKEN") from error
        return _checked_token(data.decode("latin-1"), str(self.token_file))


def load(
    *,
    store: Path | None = None,
    config_file: Path | None = None,
    logs: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read the environment (or the mapping given in its place) and the configuration file.

    ``store``, ``config_file`` and ``logs`` are what the command line or the program says. Raises ConfigurationError
    that names file, line and entry, or the environment variable.
    """
    environment = os.environ if environ is None else environ
    file = _config_file(config_file, environment)
    settings = read_settings(file)
    store_path = _store_path(store, environment, settings)
    if file.is_relative_to(store_path):
        raise ConfigurationError(
            f"the configuration file {file} lies inside the store {store_path}",
            remedy="move it out of the store, or name another store",
        )
    logs_path = _logs_path(logs, environment, settings)
    if logs_path is not None and logs_path.is_relative_to(store_path):
        raise ConfigurationError(
            f"the logs {logs_path} lie inside the store {store_path}", remedy="name a directory outside of it for them"
        )
    token = environment.get("HF_TOKEN") or environment.get("HUGGING_FACE_HUB_TOKEN")
    return Config(
        store_path=store_path,
        config_file=file,
        endpoints=_endpoints(environment, settings),
        offline=_is_true(environment.get("HF_HUB_OFFLINE")),
        no_color=bool(environment.get("NO_COLOR")),
        json_logs=_json_logs(environment),
        low_priority=settings.entries.get("low_priority", True),
        deltas=settings.entries.get("deltas", True),
        workers=_workers(settings),
        token_file=_token_file(environment),
        logs=logs_path,
        models=_model_tables(settings),
        token_variable=Secret(token) if token else None,
        hub_cache_is_set=bool(environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")),
        implicit_token=not _is_true(environment.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")),
    )


@dataclass(frozen=True, slots=True)
class Inference:
    """How models are run: whether a GPU is taken where there is one, and how many items make a batch."""

    use_gpu: bool = True
    batch_size: int = 8


def inference(environ: Mapping[str, str] | None = None) -> Inference:
    """What USE_GPU and BATCH_SIZE say.

    They are read when a model is loaded and not before, since other programs know these names, too.
    Raises ConfigurationError for a value that is not understood.
    """
    environment = os.environ if environ is None else environ
    chosen = Inference()
    use_gpu, batch_size = environment.get("USE_GPU") or "true", environment.get("BATCH_SIZE") or str(chosen.batch_size)
    if use_gpu.upper() not in _TRUE | _FALSE:
        raise ConfigurationError(f"USE_GPU: {use_gpu!r} is neither true nor false", remedy="use true or false")
    if not _BATCH_SIZE.match(batch_size):
        raise ConfigurationError(
            f"BATCH_SIZE: {batch_size!r} is no number of items", remedy="use a whole number from 1 on"
        )
    return Inference(use_gpu.upper() in _TRUE, int(batch_size))


def default_view_path(store_path: Path) -> Path:
    """Where a store's Hub view lies unless the user says otherwise: beside it, ``<name>-view``."""
    return store_path.with_name(f"{store_path.name}-view")


def _config_file(given: Path | None, environment: Mapping[str, str]) -> Path:
    named = given or environment.get("CASMODELS_CONFIG")
    if not named:
        import platformdirs

        return platformdirs.user_config_path("casmodels", appauthor=False) / "config.toml"
    file = _absolute(named)
    try:
        there = file.exists()
    except OSError:
        there = True  # reading it tells what is wrong
    if not there:
        what = f"there is no configuration file {file}"
        raise ConfigurationError(what, remedy="write it, or change what CASMODELS_CONFIG names")
    return file


def _store_path(given: Path | None, environment: Mapping[str, str], settings: SettingsFile) -> Path:
    named = given or environment.get("CASMODELS_HOME")
    if named:
        path = _absolute(named)
    elif configured := settings.entries.get("store"):
        path = _absolute(settings.path.parent / _expanded(configured))
    else:
        import platformdirs

        path = platformdirs.user_data_path("casmodels", appauthor=False) / "store"
    if not path.name:
        raise ConfigurationError(f"{path} cannot be a store", remedy="name a directory of its own for it")
    return path


def _logs_path(given: Path | None, environment: Mapping[str, str], settings: SettingsFile) -> Path | None:
    if named := given or environment.get("CASMODELS_LOGS"):
        return _absolute(named)
    configured = settings.entries.get("logs")
    return _absolute(settings.path.parent / _expanded(configured)) if configured else None


def _endpoints(environment: Mapping[str, str], settings: SettingsFile) -> tuple[Endpoint, ...]:
    hub = Endpoint(HUB_ENDPOINT)
    if url := environment.get("HF_ENDPOINT"):
        return (Endpoint(_checked_url(url, "HF_ENDPOINT")),)
    if url := environment.get("HF_MIRROR"):
        return (Endpoint(_checked_url(url, "HF_MIRROR"), mirror=True), hub)
    if url := settings.entries.get("endpoint"):
        return (Endpoint(_checked_url(url, settings.where("endpoint"))),)
    if url := settings.entries.get("mirror"):
        return (Endpoint(_checked_url(url, settings.where("mirror")), mirror=True), hub)
    return (hub,)


def _checked_url(url: str, where: str) -> str:
    """The address without its last slash; a path before the API's own is kept."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
        parts = urlsplit("")
    if "@" in parts.netloc:
        what = f"{where}: an address may not hold a user or password"
        raise ConfigurationError(what, remedy="take them out; a token belongs into HF_TOKEN")
    if not valid or not url.isprintable() or " " in url or parts.query or parts.fragment:
        what = f"{where}: {url!r} is not the address of a server"
        raise ConfigurationError(what, remedy="write it as https://host or http://host:port")
    return url.rstrip("/")


def _json_logs(environment: Mapping[str, str]) -> bool:
    value = environment.get("CASMODELS_LOG") or "text"
    if value not in ("json", "text"):
        raise ConfigurationError(f"CASMODELS_LOG: {value!r} is no form of log", remedy="use json or text")
    return value == "json"


def _workers(settings: SettingsFile) -> int | None:
    workers: int | None = settings.entries.get("workers")
    if workers is not None and not 1 <= workers <= MAX_WORKERS:
        raise ConfigurationError(f"{settings.where('workers')}: must be from 1 to {MAX_WORKERS}, not {workers}")
    return workers


def _token_file(environment: Mapping[str, str]) -> Path:
    """As the Hub's own client finds it, variables within the variables included."""
    from string import Template

    def path(variable: str) -> Path | None:
        named = environment.get(variable)
        return _absolute(Template(named).safe_substitute(environment)) if named else None

    home = path("HF_HOME") or (path("XDG_CACHE_HOME") or _absolute("~/.cache")) / "huggingface"
    return path("HF_TOKEN_PATH") or home / "token"


def _model_tables(settings: SettingsFile) -> tuple[ModelTable, ...]:
    tables = []
    for model_id, fields in settings.entries.get("models", {}).items():
        where = settings.where("models", model_id)
        if not isinstance(fields, dict):
            what = f"{where}: must be a table, not {fields!r}"
            raise ConfigurationError(what, remedy=f"write [models.{model_id}]")
        tables.append(ModelTable(model_id, fields, where))
    return tuple(tables)


def _checked_token(text: str, where: str) -> Secret | None:
    token = text.replace("\r", "").replace("\n", "").strip()
    if not token:
        return None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(f"{where} does not hold a token", remedy="a token is one word such as hf_…")
    return Secret(token)


def _is_true(value: str | None) -> bool:
    return (value or "").upper() in _TRUE


def _absolute(path: str | Path) -> Path:
    """The path from the root on, its links not followed: a view lies beside the link that the user named."""
    return Path(os.path.abspath(_expanded(path)))  # noqa: PTH100 it follows links


def _expanded(path: str | Path) -> Path:
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(f"{str(path)!r} names no user's home directory") from error
