"""Tensors that an ONNX model keeps in other files, which have no header: only the model says where they lie.

What it says is remembered by the names of those files, for a pull, where the model comes before its data; and looked up
in the models that lie beside a file, for a directory of which only the data has changed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from casmodels.formats.layout import DoubtError, checked
from casstore.chunkers.spans import RandomAccess, Span

if TYPE_CHECKING:
    from casmodels.formats.onnx import OnnxLayout

MIN_BYTES: Final = 1 << 20
"""Shorter files are not worth a look at what lies beside them."""

_MAX_FILES: Final = 1000
_MAX_MODELS: Final = 32
_MAX_ENTRIES: Final = 10_000
_SLACK_BYTES: Final = 1 << 20
"""How much longer than its tensors a file may be; more, and it is another file of the same name."""

_MODEL_SUFFIX: Final = ".onnx"


@runtime_checkable
class OnDisk(Protocol):
    """A source that knows where it lies."""

    @property
    def path(self) -> Path: ...


class ExternalTensors:
    """The spans of files of which models told, by name; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._files: dict[str, list[Span]] = {}
        self._models: dict[tuple[str, int, int], OnnxLayout | None] = {}

    def remember(self, name: str, layout: OnnxLayout) -> None:
        """Keep what a model of that name says."""
        for location, spans in layout.external.items():
            place = _place(name, location)
            self._files.pop(place, None)
            self._files[place] = spans
        while len(self._files) > _MAX_FILES:
            del self._files[next(iter(self._files))]

    def spans(self, name: str, source: RandomAccess) -> Sequence[Span]:
        """The spans of a file that has no header, if a model told of a file of its name and length."""
        if source.size_bytes < MIN_BYTES:
            return []
        told = self._files.get(posixpath.normpath(name))
        if told is not None and (found := _fitting(told, source.size_bytes)):
            return found
        if isinstance(source, OnDisk):
            for layout in self._models_beside(source.path):
                for location, spans in layout.external.items():
                    if posixpath.normpath(location) == source.path.name and (
                        found := _fitting(spans, source.size_bytes)
                    ):
                        return found
        return []

    def _models_beside(self, path: Path) -> Iterator[OnnxLayout]:
        from itertools import islice

        try:
            beside = islice(path.parent.iterdir(), _MAX_ENTRIES)
            models = [other for other in beside if other.suffix == _MODEL_SUFFIX][:_MAX_MODELS]
        except OSError:
            return
        for model in sorted(models):
            layout = self._read(model)
            if layout is not None:
                yield layout

    def _read(self, path: Path) -> OnnxLayout | None:
        """What a model says; read once for all the files beside it."""
        from casmodels.formats.onnx import onnx_layout
        from casstore.errors import StoreError
        from casstore.sources import open_source

        try:
            with open_source(path) as source:
                key = (str(path), source.size_bytes, source.status.st_mtime_ns)
                if key not in self._models:
                    if len(self._models) >= _MAX_MODELS:
                        self._models.clear()
                    self._models[key] = None
                    self._models[key] = onnx_layout(source)
                return self._models[key]
        except (DoubtError, ValueError, LookupError, StoreError, OSError):
            return None


def _place(model: str, location: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(model), location))


def _fitting(spans: Sequence[Span], size_bytes: int) -> list[Span]:
    """The spans, if they can be those of a file of that size."""
    try:
        found = checked(spans, size_bytes)
    except DoubtError:
        return []
    end = found[-1].offset + found[-1].length
    return found if size_bytes - end <= _SLACK_BYTES else []
