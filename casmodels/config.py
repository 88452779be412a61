"""Configuration: the only reader of the environment and of the configuration file.

A value comes from the command line, else the environment, else the configuration file, else the default. The
configuration file is TOML::

    store = "~/models"          # where the store is
    workers = 4                 # threads of a pull
    low_priority = true         # pulls at the lowest priority
    endpoint = "https://hub"    # asked instead of the Hub
    mirror = "https://mirror"   # asked before the Hub

    [models.my-model]           # a model of the user's own, with the fields of ModelSpec
    type = "text-embedding"
    huggingface_id = "org/name"
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from casmodels.errors import ConfigurationError

HUB_ENDPOINT: Final = "https://huggingface.co"

_KEYS: Final = {
    "store": (str, "a string"),
    "workers": (int, "a whole number"),
    "low_priority": (bool, "true or false"),
    "endpoint": (str, "a string"),
    "mirror": (str, "a string"),
    "models": (dict, "a table of tables"),
}
_TRUE: Final = {"1", "ON", "YES", "TRUE"}
_SYNTAX_PLACE: Final = re.compile(
    r"^(?P<what>.*?) \(at (?P<place>line \d+, column \d+|end of document)\)$", re.DOTALL
)
_TOKEN_LIMIT_BYTES: Final = 64 * 1024


class Secret:
    """A string that shows itself only when asked to."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> str:
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
    """What the user has set. Paths are absolute. ``workers`` None means: as many as the work deserves."""

    store_path: Path
    config_file: Path
    endpoints: tuple[Endpoint, ...]
    offline: bool
    no_color: bool
    json_logs: bool
    low_priority: bool
    workers: int | None
    token_file: Path
    models: tuple[ModelTable, ...] = ()
    token_variable: Secret | None = None
    implicit_token: bool = True

    @property
    def endpoint(self) -> str:
        """The address that is no mirror: the only one that gets the token."""
        return self.endpoints[-1].url

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
            raise ConfigurationError(
                f"the token file {self.token_file} cannot be read: {error.strerror}",
                remedy="mend the file or set HF_TOKEN",
            ) from error
        return _checked_token(data.decode("latin-1"), str(self.token_file))


@dataclass(slots=True)
class _Settings:
    """The configuration file's entries, and where each stands."""

    file: Path
    text: str = ""
    entries: dict[str, Any] = field(default_factory=dict)

    def where(self, *path: str) -> str:
        line = _line_of(self.text, path)
        entry = f"[{'.'.join(path)}]" if isinstance(_entry(self.entries, path), dict) else ".".join(path)
        return f"{self.file}, line {line}, {entry}" if line is not None else f"{self.file}, {entry}"


def load(
    *,
    store: Path | None = None,
    config_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read the environment (or the mapping given in its place) and the configuration file.

    ``store`` is what the command line says. Raises ConfigurationError that names file, line and entry, or the
    environment variable.
    """
    environment = os.environ if environ is None else environ
    file = _config_file(config_file, environment)
    settings = _read(file)
    store_path = _store_path(store, environment, settings)
    if file.is_relative_to(store_path):
        raise ConfigurationError(
            f"the configuration file {file} lies inside the store {store_path}",
            remedy="move it out of the store, or name another store",
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
        workers=_workers(settings),
        token_file=_token_file(environment),
        models=_model_tables(settings),
        token_variable=Secret(token) if token else None,
        implicit_token=not _is_true(environment.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")),
    )


def default_view_path(store_path: Path) -> Path:
    """Where a store's Hub view lies unless the user says otherwise: beside it, ``<name>-view``."""
    return store_path.with_name(f"{store_path.name}-view")


def _config_file(given: Path | None, environment: Mapping[str, str]) -> Path:
    named = given or environment.get("CASMODELS_CONFIG")
    if not named:
        import platformdirs

        return platformdirs.user_config_path("casmodels", appauthor=False) / "config.toml"
    file = _absolute(named)
    if not file.is_file():
        raise ConfigurationError(
            f"there is no configuration file {file}", remedy="mend CASMODELS_CONFIG, or write that file"
        )
    return file


def _read(file: Path) -> _Settings:
    try:
        text = file.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return _Settings(file)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{file}, line {line}: not UTF-8", remedy="save it as UTF-8") from error
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error.strerror}", remedy="check its permissions"
        ) from error
    import tomllib

    try:
        settings = _Settings(file, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        place = _SYNTAX_PLACE.match(str(error))
        what, at = (place["what"], place["place"]) if place else (str(error), "somewhere")
        raise ConfigurationError(
            f"{file}, {at}: {what}", remedy="mend this line; the file is TOML"
        ) from error
    except RecursionError as error:
        raise ConfigurationError(f"{file} is nested too deeply", remedy="mend the file") from error
    for key, value in settings.entries.items():
        if key not in _KEYS:
            raise ConfigurationError(
                f"{settings.where(key)}: unknown setting", remedy=f"the settings are {', '.join(_KEYS)}"
            )
        kind, words = _KEYS[key]
        if type(value) is not kind:
            raise ConfigurationError(f"{settings.where(key)}: must be {words}, not {value!r}")
    return settings


def _store_path(given: Path | None, environment: Mapping[str, str], settings: _Settings) -> Path:
    named = given or environment.get("CASMODELS_HOME")
    if named:
        path = _absolute(named)
    elif settings.entries.get("store"):
        path = _absolute(settings.file.parent / Path(settings.entries["store"]).expanduser())
    else:
        import platformdirs

        path = platformdirs.user_data_path("casmodels", appauthor=False) / "store"
    if not path.name:
        raise ConfigurationError(f"{path} cannot be a store", remedy="name a directory of its own for it")
    return path


def _endpoints(environment: Mapping[str, str], settings: _Settings) -> tuple[Endpoint, ...]:
    if url := environment.get("HF_ENDPOINT"):
        return (Endpoint(_checked_url(url, "HF_ENDPOINT")),)
    hub = Endpoint(HUB_ENDPOINT)
    if url := environment.get("HF_MIRROR"):
        return (Endpoint(_checked_url(url, "HF_MIRROR"), mirror=True), hub)
    if url := settings.entries.get("endpoint"):
        return (Endpoint(_checked_url(url, settings.where("endpoint"))),)
    if url := settings.entries.get("mirror"):
        return (Endpoint(_checked_url(url, settings.where("mirror")), mirror=True), hub)
    return (hub,)


def _checked_url(url: str, where: str) -> str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{where}: {url!r} is not the address of a server",
            remedy="write it as https://host or http://host:port",
        )
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"{where}: an address may not hold a user or password", remedy="put the token into HF_TOKEN"
        )
    return url.rstrip("/")


def _json_logs(environment: Mapping[str, str]) -> bool:
    value = environment.get("CASMODELS_LOG") or "text"
    if value not in ("json", "text"):
        raise ConfigurationError(f"CASMODELS_LOG: {value!r} is no form of log", remedy="use json or text")
    return value == "json"


def _workers(settings: _Settings) -> int | None:
    workers: int | None = settings.entries.get("workers")
    if workers is not None and not 1 <= workers <= 64:
        raise ConfigurationError(f"{settings.where('workers')}: must be from 1 to 64, not {workers}")
    return workers


def _token_file(environment: Mapping[str, str]) -> Path:
    if named := environment.get("HF_TOKEN_PATH"):
        return _absolute(named)
    if home := environment.get("HF_HOME"):
        return _absolute(home) / "token"
    return _absolute(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "token"


def _model_tables(settings: _Settings) -> tuple[ModelTable, ...]:
    tables = []
    for model_id, fields in settings.entries.get("models", {}).items():
        where = settings.where("models", model_id)
        if not isinstance(fields, dict):
            raise ConfigurationError(
                f"{where}: must be a table, not {fields!r}", remedy=f"write [models.{model_id}]"
            )
        tables.append(ModelTable(model_id, fields, where))
    return tuple(tables)


def _checked_token(text: str, where: str) -> Secret | None:
    token = text.strip()
    if not token:
        return None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(f"{where} does not hold a token", remedy="a token is one word such as hf_…")
    return Secret(token)


def _is_true(value: str | None) -> bool:
    return (value or "").upper() in _TRUE


def _absolute(path: str | Path) -> Path:
    """The path from the root on, its links not followed: a view lies beside the link that the user named."""
    try:
        return Path(os.path.abspath(Path(os.path.expandvars(path)).expanduser()))  # noqa: PTH100 it follows links
    except RuntimeError as error:
        raise ConfigurationError(f"{path} names no user's home directory") from error


def _entry(entries: Mapping[str, Any], path: tuple[str, ...]) -> object:
    value: Any = entries
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _line_of(text: str, path: tuple[str, ...]) -> int | None:
    """The line of an entry's key or table header; None where it is written in a way not looked for here."""
    import tomllib

    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        is_header = stripped.startswith("[")
        try:
            keys = _keys(tomllib.loads(stripped if is_header else stripped.partition("=")[0] + "= 0"))
        except tomllib.TOMLDecodeError:
            continue
        if is_header:
            table = keys
        if keys and (table if is_header else table + keys)[: len(path)] == path:
            return number
    return None


def _keys(document: dict[str, Any]) -> tuple[str, ...]:
    keys = []
    value: Any = document
    while isinstance(value, dict) and value:
        key = next(iter(value))
        keys.append(key)
        value = value[key]
    return tuple(keys)
