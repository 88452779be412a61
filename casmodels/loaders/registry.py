"""The loaders that there are: the built-in ones, and those of other packages.

A package adds one by an entry point of the group ``casmodels.loaders``, which leads to a class that makes a
`casmodels.loaders.Loader` when it is called without arguments. The built-in ones stand in a table here: to read the
entry points of everything that is installed takes longer than to import any of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from casmodels.errors import BrokenLoaderError, NotLoadableError
from casmodels.extras import first_line
from casmodels.loaders.builtin.refused import RefusingLoader
from casmodels.loaders.checked import fault_of
from casmodels.loaders.loader import Loader

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "casmodels.loaders"
_log = logging.getLogger(__name__)

BUILT_IN: Final = {
    "sentence-transformers": "sentence_transformers:SentenceTransformersLoader",
    "transformers": "transformers:TransformersLoader",
    "diffusers": "diffusers:DiffusersLoader",
    "coqui-tts": "coqui_tts:CoquiTtsLoader",
    "faster-whisper": "faster_whisper:FasterWhisperLoader",
    "saved-model": "saved_model:SavedModelLoader",
    "ultralytics": "ultralytics:UltralyticsLoader",
    "silero-vad": "silero_vad:SileroVadLoader",
    "torchscript": "torchscript:TorchScriptLoader",
    "weights": "weights:WeightsLoader",
    "onnx": "onnx:OnnxLoader",
    "llama-cpp": "llama_cpp:LlamaCppLoader",
    "gguf": "gguf:GgufLoader",
    "keras": "keras:KerasLoader",
    "sklearn": "sklearn:SklearnLoader",
    "prophet": "prophet:ProphetLoader",
}
"""In the order in which they are asked: what knows a whole directory before what knows a file."""


def named(name: str) -> Loader:
    """The loader of that name. Raises NotLoadableError for one that does not exist, BrokenLoaderError."""
    if name in BUILT_IN:
        return _built_in(name)
    others = _entry_points()
    for entry in others:
        if entry.name == name:
            return _made(entry)
    known = ", ".join([*BUILT_IN, *(entry.name for entry in others)])
    raise NotLoadableError(f"there is no loader {name!r}", remedy=f"the loaders are {known}")


def all_loaders() -> Iterator[Loader]:
    """Every loader, in the order in which they are asked: other packages' first, since their users chose them; last,
    what says why no other loads a model, and which nobody can name.

    One that cannot be used is left out, with a warning that names it.
    """
    for entry in _entry_points():
        try:
            yield _made(entry)
        except BrokenLoaderError as error:
            _log.warning("%s; it is left out", error.message)
    for name in BUILT_IN:
        yield _built_in(name)
    yield RefusingLoader()


def _built_in(name: str) -> Loader:
    module, _, attribute = BUILT_IN[name].partition(":")
    made: Loader = getattr(import_module(f"casmodels.loaders.builtin.{module}"), attribute)()
    return made


def _entry_points() -> list[EntryPoint]:
    from importlib.metadata import entry_points

    return [entry for entry in entry_points(group=GROUP) if entry.name not in BUILT_IN]


def _made(entry: EntryPoint) -> Loader:
    package = entry.dist.name if entry.dist is not None else "an unknown package"
    what = f"the loader {entry.name!r} of {package} ({entry.value}) cannot be used"
    remedy = f"mend or remove {package}"
    try:
        made: Any = entry.load()()
        fault = fault_of(made)
    except (Exception, SystemExit) as error:  # whatever a foreign module does when it is imported
        raise BrokenLoaderError(f"{what}: {type(error).__name__}: {first_line(error)}", remedy=remedy) from error
    if fault is None and made.name in BUILT_IN:
        fault = f"its name {made.name!r} is that of a built-in one"
    if fault is not None:
        raise BrokenLoaderError(f"{what}: {fault}", remedy=remedy)
    loader: Loader = made
    return loader
