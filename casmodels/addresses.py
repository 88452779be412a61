"""What users may type where a model is to be pulled: a name, a Hub id, an address, a path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit, urlunsplit

from casstore.errors import InvalidInputError
from casstore.refs import check_name

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_OTHER_REPOSITORIES = ("datasets/", "spaces/", "kernels/", "buckets/")


@dataclass(frozen=True, slots=True)
class ShortName:
    """A name without a slash: an alias, a registered id, a name of the user's own, or a bare Hub id."""

    name: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository on the Hub. ``explicit``: it was written ``hf://``, so no name of the user's is meant."""

    repo: str
    revision: str | None = None
    explicit: bool = False


@dataclass(frozen=True, slots=True)
class UrlModel:
    """One file behind an http or https address."""

    url: str

    @property
    def shown(self) -> str:
        """The address for messages and records, without what may hold secrets: user, password, query."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A directory or file on this machine; not looked at yet."""

    path: Path


Model: TypeAlias = ShortName | HubModel | UrlModel | LocalModel


def parse_model(text: str) -> Model:
    """Tell what a MODEL means, by its form.

    A path begins with ``.``, ``/``, ``~``, a drive or ``file://``. Anything else of the form ``org/name`` is
    a Hub id, whatever lies in the current directory: a checkout there must not change what `pull org/name`
    means. What is no Hub id but names an existing path with a separator (``a/b/c``) is that path. Raises
    InvalidInputError.
    """
    if not text.strip():
        raise InvalidInputError("the model's name is empty")
    scheme = _SCHEME.match(text)
    if scheme is not None:
        return _parse_address(text, scheme[1].lower())
    if text in (".", "..", "~") or text.startswith(("./", "../", "/", "~", ".\\", "..\\", "\\")) or _DRIVE.match(text):
        return LocalModel(_expanded(text))
    try:
        return _parse_hub(text)
    except InvalidInputError:
        if "/" in text and _exists(Path(text)):
            return LocalModel(Path(text))
        raise


def shown_model(text: str) -> str:
    """A MODEL for logs: an address without its user, password and query."""
    try:
        parsed = parse_model(text)
    except InvalidInputError:
        return text
    return parsed.shown if isinstance(parsed, UrlModel) else text


def _parse_address(text: str, scheme: str) -> Model:
    rest = text[text.index("://") + 3 :]
    if scheme == "hf":
        if rest.startswith(_OTHER_REPOSITORIES):
            raise InvalidInputError(f"{text!r} is no model: only model repositories can be pulled")
        model = _parse_hub(rest.removeprefix("models/"))
        return HubModel(model.repo if isinstance(model, HubModel) else model.name, model.revision, explicit=True)
    if scheme in ("http", "https"):
        try:
            parts = urlsplit(text)
            valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            valid = False
        if not valid or any(character.isspace() or not character.isprintable() for character in text):
            raise InvalidInputError(f"{text!r} is not a valid address")
        return UrlModel(text)
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if host not in ("", "localhost") or not slash:
            raise InvalidInputError(f"{text!r} is not on this machine", remedy="write file:///path/to/it")
        path = unquote(path)
        return LocalModel(Path(path if _DRIVE.match(path) else "/" + path))
    raise InvalidInputError(f"{scheme}:// cannot be pulled from", remedy="use hf://, https://, http:// or file://")


def _parse_hub(text: str) -> ShortName | HubModel:
    name, at, revision = text.partition("@")
    if at and (not revision or any(character.isspace() for character in revision)):
        raise InvalidInputError(f"{text!r} has no revision after its '@'", remedy="write NAME or NAME@REVISION")
    check_name(name)
    return HubModel(name, revision or None) if "/" in name else ShortName(name, revision or None)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long to be one
        return False


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except (RuntimeError, ValueError):
        raise InvalidInputError(f"{text!r} names no user's home directory") from None
