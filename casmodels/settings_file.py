"""The configuration file: TOML, read whole, with the line of every entry for messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from casmodels.errors import ConfigurationError

KEYS: Final = {
    "store": (str, "a string"),
    "workers": (int, "a whole number"),
    "low_priority": (bool, "true or false"),
    "deltas": (bool, "true or false"),
    "endpoint": (str, "a string"),
    "mirror": (str, "a string"),
    "logs": (str, "a string"),
    "models": (dict, "a table of tables"),
}
_SYNTAX_PLACE: Final = re.compile(r"(.*) \(at (line \d+, column \d+|end of document)\)\Z", re.DOTALL)


@dataclass(slots=True)
class SettingsFile:
    """The file's entries; none, where there is no file. Their types are as `KEYS` says."""

    path: Path
    text: str = ""
    entries: dict[str, Any] = field(default_factory=dict)

    def where(self, *keys: str) -> str:
        """File, line and entry, as messages name them."""
        entry = f"[{'.'.join(keys)}]" if isinstance(self._entry(keys), dict) else ".".join(keys)
        line = self._line(keys)
        return f"{self.path}, line {line}, {entry}" if line is not None else f"{self.path}, {entry}"

    def _entry(self, keys: tuple[str, ...]) -> object:
        value: Any = self.entries
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def _line(self, keys: tuple[str, ...]) -> int | None:
        """The line of the entry's key or table header; None where it stands in a way not looked for here."""
        import tomllib

        table: tuple[str, ...] = ()
        for number, line in enumerate(self.text.splitlines(), start=1):
            is_header = line.lstrip().startswith("[")
            try:
                found = _keys(tomllib.loads(line if is_header else line.partition("=")[0] + "= 0"))
            except ValueError:
                continue
            if is_header:
                table = found
            if found and (found if is_header else table + found)[: len(keys)] == keys:
                return number
        return None


def read_settings(path: Path) -> SettingsFile:
    """Read and check the file. Raises ConfigurationError that names file, line and entry."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return SettingsFile(path)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}, line {line}: not UTF-8", remedy="save the file as UTF-8") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}", remedy="check its permissions") from error
    import tomllib

    try:
        settings = SettingsFile(path, text, tomllib.loads(text))
    except ValueError as error:
        what = _with_place(path, str(error), text)
        raise ConfigurationError(what, remedy="mend it there; the file is TOML") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path} is nested too deeply", remedy="mend the file") from error
    for key, value in settings.entries.items():
        if key not in KEYS:
            known = ", ".join(KEYS)
            raise ConfigurationError(f"{settings.where(key)}: unknown setting", remedy=f"the settings are {known}")
        kind, words = KEYS[key]
        if type(value) is not kind:
            raise ConfigurationError(f"{settings.where(key)}: must be {words}, not {value!r}")
    return settings


def _with_place(path: Path, said: str, text: str) -> str:
    """What the TOML reader said, with the line where it says "end of document"."""
    place = _SYNTAX_PLACE.match(said)
    if place is None:
        return f"{path}: {said}"
    last_line = text.rstrip().count("\n") + 1
    return f"{path}, {place[2] if place[2].startswith('line') else f'line {last_line}'}: {place[1]}"


def _keys(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The dotted key of a line that was read as a document of its own."""
    keys = []
    value: Any = document
    while isinstance(value, (dict, list)) and value:
        if isinstance(value, list):
            value = value[0]
            continue
        key = next(iter(value))
        keys.append(key)
        value = value[key]
    return tuple(keys)
