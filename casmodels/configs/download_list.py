"""`download_list.json`: which models to bring in, and from where.

{"models": [{"name": "whisper-tiny", "type": "audio/stt", "source": "huggingface", "repo": "openai/whisper-tiny",
             "files": ["model.safetensors", "config.json"], "size_mb": 151, "checksum": "sha256:…"}]}
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from casmodels.addresses import UrlModel, parse_model
from casmodels.configs.json_file import JsonFile, checked_text, json_bytes, read_json, shown, write_file
from casmodels.configs.names import checked_name, is_name
from casmodels.errors import ConfigurationError
from casmodels.specs import ModelType, parse_model_type
from casstore.digests import SHA256, Digest
from casstore.errors import InvalidInputError
from casstore.refs import check_name
from casstore.trees import check_path

HUGGINGFACE: Final = "huggingface"
"""The source whose models are repositories; every other one is a word for where a URL leads."""

_SOURCE: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z")
_LARGEST_MB: Final = 1e9


@dataclass(frozen=True, slots=True)
class DownloadEntry:
    """A model to bring in: ``repo`` of the Hub at a ``revision``, or one file behind a ``url``.

    ``files`` are exactly those paths of the repository, none: what a pull chooses. ``checksum`` is a SHA-256: of the
    file, or of the one file of weights among ``files``. ``size_mb`` is for the reader, in 10^6 bytes. ``where`` names
    file, line and entry for messages.
    """

    name: str
    type: ModelType
    source: str
    repo: str | None = None
    revision: str | None = None
    url: str | None = None
    files: tuple[str, ...] = ()
    size_mb: float | None = None
    checksum: Digest | None = None
    where: str = field(default="", compare=False)

    def to_fields(self) -> dict[str, object]:
        """The fields as JSON names them, without those that say nothing."""
        fields: dict[str, object] = {
            "name": self.name,
            "type": self.type.value,
            "source": self.source,
            "repo": self.repo,
            "revision": self.revision,
            "url": self.url,
            "files": list(self.files),
            "size_mb": self.size_mb,
            "checksum": str(self.checksum) if self.checksum is not None else None,
        }
        return {key: value for key, value in fields.items() if value not in (None, [])}


def read_download_list(path: Path) -> tuple[DownloadEntry, ...]:
    """The entries of a list. Raises NotFoundError, and ConfigurationError that names file, line and entry."""
    file = read_json(path)
    content = file.content
    if not isinstance(content, dict) or not isinstance(content.get("models"), list):
        raise ConfigurationError(f"{file.where()}: not a download list", remedy='write {"models": [ … ]}')
    file.refuse_others((), content, ["models"])
    entries: dict[str, DownloadEntry] = {}
    for place, fields in enumerate(content["models"]):
        entry = _entry(file, place, fields)
        before = entries.get(entry.name.casefold())
        if before is not None:
            raise ConfigurationError(
                f"{entry.where}: the name stands there twice, first in {before.where}", remedy="rename one of them"
            )
        entries[entry.name.casefold()] = entry
    return tuple(entries.values())


def write_download_list(path: Path, entries: Sequence[DownloadEntry]) -> None:
    """Write a list in one step; what is read from it again is equal."""
    write_file(path, download_list_bytes(entries))


def download_list_bytes(entries: Sequence[DownloadEntry]) -> bytes:
    """The content of such a file."""
    return json_bytes({"models": [entry.to_fields() for entry in entries]})


def _entry(file: JsonFile, place: int, fields: object) -> DownloadEntry:
    keys = ("models", place)
    if not isinstance(fields, dict):
        raise ConfigurationError(f"{file.where(*keys)}: must be an object, not {shown(fields)}")
    named = fields["name"] if is_name(fields.get("name")) else ""
    where = file.where(*keys, named=named)
    file.refuse_others(keys, fields, _FIELDS, named=named)
    for field_name in ("name", "type", "source"):
        if field_name not in fields:
            raise ConfigurationError(f"{where}: the field {field_name!r} is missing")
    values = file.read_fields(keys, fields, _FIELDS, named=named)
    _check_together(where, values)
    return DownloadEntry(where=where, **values)


def _check_together(where: str, values: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for fields that each are right and make no sense together."""
    origin, others = ("repo", ["url"]) if values["source"] == HUGGINGFACE else ("url", ["repo", "revision", "files"])
    if origin not in values:
        raise ConfigurationError(f"{where}: the field {origin!r} is missing", remedy=_ORIGINS)
    for other in others:
        if other in values:
            raise ConfigurationError(f"{where}: {other!r} does not go with {origin!r}", remedy=_ORIGINS)
    if "checksum" in values and origin == "repo" and "files" not in values:
        raise ConfigurationError(
            f"{where}: a checksum is of one file, and 'files' does not name it", remedy="name it, or leave it out"
        )


_ORIGINS: Final = f"the source {HUGGINGFACE!r} has a 'repo', every other one a 'url'"


def _source(value: object) -> str:
    source = checked_text(value)
    if not _SOURCE.match(source):
        raise InvalidInputError(f"{source!r} is no word for a source", remedy="such as huggingface, ultralytics or url")
    return source


def _revision(value: object) -> str:
    revision = checked_text(value)
    if not revision or not revision.isascii() or any(not c.isprintable() or c.isspace() for c in revision):
        raise InvalidInputError(f"{revision!r} is no branch, tag or commit")
    return revision


def _url(value: object) -> str:
    model = parse_model(checked_text(value))
    if not isinstance(model, UrlModel):
        raise InvalidInputError(
            f"{shown(value)} is no http or https address", remedy="give one such as https://host/model.pt"
        )
    return model.url


def _files(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise InvalidInputError(f"must be a list of paths, not {shown(value)}")
    paths: dict[str, None] = {}
    for path in map(checked_text, value):
        check_path(path)
        if path in paths:
            raise InvalidInputError(f"{path!r} stands there twice")
        paths[path] = None
    return tuple(paths)


def _size_mb(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInputError(f"must be a number, not {shown(value)}")
    if not 0 <= value <= _LARGEST_MB:
        raise InvalidInputError(f"must be from 0 to {_LARGEST_MB:.0f}, not {shown(value)}")
    return value


def _checksum(value: object) -> Digest:
    digest = Digest.parse(checked_text(value), default=SHA256)
    if digest.algorithm != SHA256:
        raise InvalidInputError(f"must be a SHA-256, not {digest.algorithm}", remedy="give sha256:<64 hex digits>")
    return digest


_FIELDS: Final[Mapping[str, Callable[[object], Any]]] = {
    "name": checked_name,
    "type": lambda value: parse_model_type(checked_text(value)),
    "source": _source,
    "repo": lambda value: check_name(checked_text(value)),
    "revision": _revision,
    "url": _url,
    "files": _files,
    "size_mb": _size_mb,
    "checksum": _checksum,
}
