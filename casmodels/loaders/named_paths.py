"""Settings of a model that a library would follow out of the version.

Beside what is only information, such as ``_name_or_path``, a few settings are a path or the name of a repo that a
library opens by itself: relative to the current directory, or out of the user's cache. None of them can lead to the
version's own files, which lie in a directory whose name nobody knows before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Final

from casmodels.errors import NotLoadableError, UnsafeModelError
from casmodels.loaders.stored_model import StoredModel
from casmodels.sources.gzipped import unpacked_name

_FOLLOWED: Final = frozenset(
    (
        "audio_tokenizer_name_or_path",
        "base_model_name_or_path",
        "pretrained_model_name_or_path",
        "processor_name",
        "tokenizer_name_or_path",
    )
)
_ARGUMENTS: Final = ("_args", "_kwargs")
"""How settings end whose values sentence-transformers hands on as arguments, such as ``cache_dir``."""

_MODULES: Final = "modules.json"


def check_named_paths(model: StoredModel, paths: Iterable[str]) -> None:
    """Raise UnsafeModelError where one of these small files names something outside that would be opened."""
    for path in paths:
        for setting, value in outside(model, path):
            raise UnsafeModelError(
                f"{model.called(path)} has {setting} {value!r}, which lies outside the version",
                remedy=f"take {setting} out of it, and put what it names beside it",
            )


def outside(model: StoredModel, path: str) -> Iterator[tuple[str, str]]:
    """The settings of a file that lead out of the version, and where to; none where it is no file of settings."""
    name = unpacked_name(path).rpartition("/")[2]
    if not name.endswith("config.json") and name != _MODULES:
        return
    try:
        settings = model.read_json_value(path)
    except NotLoadableError:
        return  # nobody can follow what nobody can read
    if name == _MODULES:
        modules = [module for module in settings if isinstance(module, dict)] if isinstance(settings, list) else []
        yield from (("path", module["path"]) for module in modules if _leads_out(module.get("path")))
    elif isinstance(settings, dict | list):
        yield from _in_settings(settings)


def _in_settings(settings: Any) -> Iterator[tuple[str, str]]:
    waiting = [(settings, False)]
    while waiting:
        found, handed_on = waiting.pop()
        if isinstance(found, list):
            waiting += [(value, handed_on) for value in found if isinstance(value, dict | list)]
            continue
        for key, value in found.items():
            if isinstance(value, dict | list):
                waiting.append((value, handed_on or key.endswith(_ARGUMENTS)))
            elif isinstance(value, str) and value and (key in _FOLLOWED or (handed_on and _leads_out(value))):
                yield key, value


def _leads_out(value: object) -> bool:
    """Whether it is an absolute path, or one that goes up."""
    kinds: tuple[type[PurePath], ...] = (PurePosixPath, PureWindowsPath)
    return isinstance(value, str) and any(kind(value).root != "" or ".." in kind(value).parts for kind in kinds)
