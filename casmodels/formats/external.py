"""Tensors that an ONNX model keeps in other files, which have no header: only the model says where they lie.

What it says is remembered by the names of those files, for a pull, where the model comes before its data; and looked up
in the models that lie beside a file, for a directory of which only the data has changed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from casmodels.formats.layout import BAD_BYTES, DoubtError, checked
from casstore.chunkers.spans import RandomAccess, Span
from casstore.errors import StoreError

if TYPE_CHECKING:
    from casmodels.formats.onnx import OnnxLayout

MIN_BYTES: Final = 1 << 20
"""Shorter files are not worth a look at what lies beside them."""

_MAX_SPANS: Final = 200_000
"""What is remembered at most, of all files together; it bounds memory at some 50 MB."""

_MAX_MODELS: Final = 32
_MAX_ENTRIES: Final = 10_000
_MAX_READ: Final = 10_000
_SLACK_BYTES: Final = 1 << 20
"""How much longer than its tensors a file may be; more, and it is another file of the same name."""

_MODEL_SUFFIX: Final = ".onnx"


@runtime_checkable
class OnDisk(Protocol):
    """A source that knows where it lies."""

    @property
    def path(self) -> Path: ...


class ExternalTensors:
    """The spans of files of which models told, by name or by path; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._files: dict[str, list[Span]] = {}
        self._count = 0
        self._read: set[tuple[str, int, int]] = set()

    def remember(self, name: str, layout: OnnxLayout) -> None:
        """Keep what a model of that name says."""
        for location, spans in layout.external.items():
            place = _place(name, location)
            self._count += len(spans) - len(self._files.pop(place, []))
            self._files[place] = spans
        while self._count > _MAX_SPANS:
            self._count -= len(self._files.pop(next(iter(self._files))))

    def spans(self, name: str, source: RandomAccess) -> Sequence[Span]:
        """The spans of a file that has no header, if a model told of a file of its name and length."""
        if source.size_bytes < MIN_BYTES:
            return []
        places = [posixpath.normpath(name)]
        if isinstance(source, OnDisk):
            path = source.path.absolute()
            self._read_models_beside(path)
            places.insert(0, path.as_posix())
        for place in places:
            if found := _fitting(self._files.get(place, []), source.size_bytes):
                return found
        return []

    def _read_models_beside(self, path: Path) -> None:
        """Remember by their paths what the models in a file's directory say; each is read once while it is the same."""
        try:
            beside = islice(path.parent.iterdir(), _MAX_ENTRIES)
            models = [other for other in beside if other.suffix == _MODEL_SUFFIX]
        except OSError:
            return
        for model in sorted(models)[:_MAX_MODELS]:
            try:
                self._read_model(model)
            except (*BAD_BYTES, StoreError, OSError):
                continue

    def _read_model(self, path: Path) -> None:
        from casmodels.formats.onnx import onnx_layout
        from casstore.sources import open_source

        with open_source(path) as source:
            state = (str(path), source.size_bytes, source.status.st_mtime_ns)
            if state not in self._read and len(self._read) < _MAX_READ:
                self._read.add(state)
                self.remember(path.as_posix(), onnx_layout(source))


def _place(model: str, location: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(model), location))


def _fitting(spans: Sequence[Span], size_bytes: int) -> list[Span]:
    """The spans, if there are any and they can be those of a file of that size."""
    try:
        found = checked(spans, size_bytes)
    except DoubtError:
        return []
    end = found[-1].offset + found[-1].length if found else 0
    return found if size_bytes - end <= _SLACK_BYTES else []
