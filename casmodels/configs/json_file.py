"""A JSON file that a person writes: read whole, with the line of every entry for messages; written in one step."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

from casmodels.errors import ConfigurationError
from casstore import files
from casstore.errors import DiskError, InvalidInputError, NotFoundError, TooManyFilesError

LIMIT_BYTES: Final = 1 << 20
"""Thousands of entries; what is larger is no list that a person keeps."""

_DEEPEST: Final = 16
_LONGEST_TEXT: Final = 4096
_SHOWN: Final = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 60

Keys: TypeAlias = tuple[str | int, ...]
"""The way to an entry: keys of objects, and places in lists from 0 on."""

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+|\n')


@dataclass(slots=True)
class JsonFile:
    """The file's content, and where everything stands in it."""

    path: Path
    content: Any
    lines: Mapping[Keys, int] = field(default_factory=dict)

    def where(self, *keys: str | int, named: str = "") -> str:
        """File, line and entry, as messages name them: ``list.json, line 7, models[2] (yolov8n)``."""
        entry = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
        told = f", {entry}" if entry else ""
        return f"{self.path}, line {self.line(*keys)}{told}{f' ({named})' if named else ''}"

    def line(self, *keys: str | int) -> int:
        """The line that an entry begins in; of a field that is its name's."""
        return self.lines.get(keys, 1)

    def refuse_others(self, keys: Keys, fields: Iterable[str], known: Iterable[str], *, named: str = "") -> None:
        """Raise ConfigurationError for a field that is not among the known ones."""
        for name in fields:
            if name not in known:
                where = self.where(*keys, named=named)
                what = f"{where}: unknown field {shown(name)} in line {self.line(*keys, name)}"
                raise ConfigurationError(what, remedy=f"the fields are {', '.join(known)}")

    def read_fields(
        self,
        keys: Keys,
        fields: Mapping[str, object],
        readers: Mapping[str, Callable[[object], Any]],
        *,
        named: str = "",
    ) -> dict[str, Any]:
        """The values of an object's fields, each by its reader, which raises InvalidInputError for what cannot be.

        Raises ConfigurationError that names the entry and the field.
        """
        values: dict[str, Any] = {}
        for name, value in fields.items():
            try:
                values[name] = readers[name](value)
            except InvalidInputError as error:
                where = self.where(*keys, named=named)
                raise ConfigurationError(f"{where}: {name}: {error.message}", remedy=error.remedy) from error
        return values


def read_json(path: Path) -> JsonFile:
    """Read a file. Raises NotFoundError when there is none, ConfigurationError that names file and line for one that is
    no JSON, too large, or names something twice, DiskError and TooManyFilesError."""
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist", remedy="check the path") from error
    except OSError as error:
        if isinstance(known := files.explain(error, path), DiskError | TooManyFilesError):
            raise known from error  # another file would fare no better
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}", remedy="name a JSON file") from error
    if len(data) > LIMIT_BYTES:
        raise ConfigurationError(f"{path} is larger than {LIMIT_BYTES >> 20} MiB", remedy="split it into several files")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}, line {line}: not UTF-8", remedy="save the file as UTF-8") from error
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        what = f"{path}, line {error.lineno}, column {error.colno}: {error.msg}"
        raise ConfigurationError(what, remedy="mend it there; the file is JSON") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} holds a number that cannot be read: {error}", remedy="mend it") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path} is nested too deeply", remedy="mend the file") from error
    return JsonFile(path, content, _lines(path, text))


def shown(value: object) -> str:
    """A value as messages quote it: what is long is cut."""
    return _SHOWN.repr(value)


def checked_text(value: object) -> str:
    """A string, and not one as long as a book. Raises InvalidInputError."""
    if not isinstance(value, str):
        raise InvalidInputError(f"must be a string, not {shown(value)}")
    if len(value) > _LONGEST_TEXT:
        raise InvalidInputError(f"{shown(value)} is longer than {_LONGEST_TEXT} characters")
    return value


def json_bytes(content: object) -> bytes:
    """A file's content, for people to read on."""
    return (json.dumps(content, indent=2) + "\n").encode("ascii")


def write_file(path: Path, content: bytes) -> None:
    """Write a file in one step, and the directories above it that are missing. Raises FullError, NotWritableError."""
    files.make_directory(path.parent)
    files.write_atomically(path, content)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _lines(path: Path, text: str) -> dict[Keys, int]:
    """The line that each entry begins in, of a text that is known to be JSON. Python's reader keeps no lines.

    Raises ConfigurationError for a key that one object has twice: the reader would forget the first.
    """
    lines: dict[Keys, int] = {(): 1}
    line = 1
    open_: list[str | int | None] = []
    """For each object or list that is open, the key or place that stands next; None before an object's next key."""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            line += 1
        elif token in "]}":
            open_.pop()
        elif token == ",":
            open_[-1] = open_[-1] + 1 if isinstance(open_[-1], int) else None
        elif token == ":":
            continue
        elif open_ and open_[-1] is None:
            open_[-1] = json.loads(token)
            keys = _keys(open_)
            if keys in lines:
                what = f"{path}, line {line}: {shown(open_[-1])} stands there twice, first in line {lines[keys]}"
                raise ConfigurationError(what, remedy="leave one of them out")
            lines[keys] = line
        else:
            lines.setdefault(_keys(open_), line)
            if token in "[{":
                if len(open_) == _DEEPEST:
                    raise ConfigurationError(f"{path}, line {line}: nested too deeply", remedy="mend the file")
                open_.append(0 if token == "[" else None)
    return lines


def _keys(open_: Iterable[str | int | None]) -> Keys:
    return tuple(key for key in open_ if key is not None)
