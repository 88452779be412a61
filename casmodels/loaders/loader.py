"""What a loader is, for those of casmodels and those of other packages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from casmodels.loaders.stored_model import StoredModel


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be loaded: the files that the loader recognised, and where to; ``device`` is one of its devices."""

    files: tuple[str, ...]
    device: str


def _nothing() -> None:
    """Nothing but memory has to be given back."""


@dataclass(slots=True)
class Loaded:
    """What a loader gives back.

    ``model`` is the library's own object. ``call`` is what the handle does when it is called, and ``call_batch`` with
    a batch of data, if that differs; None where there is nothing to call. ``prepare`` makes of all the data what is
    cut into batches. ``move`` brings the model to another device. ``processor`` makes its inputs, such as a tokenizer.
    ``close`` gives back what is not memory, and does not fail. ``example`` makes a batch of so many items to try
    it with. ``again`` makes the same of another object of the model's kind (of ONNX: of the bytes of another file),
    such as a quantised copy; None where none can take its place. ``source`` is the file that the model was made of,
    where that lies nowhere else.
    """

    model: Any
    call: Callable[..., Any] | None = None
    call_batch: Callable[[Any], Any] | None = None
    prepare: Callable[[Any], Any] | None = None
    move: Callable[[str], None] | None = None
    processor: Any = None
    close: Callable[[], None] = _nothing
    example: Callable[[int], Any] | None = None
    again: Callable[[Any], Loaded] | None = None
    source: bytes = b""


class Loader(Protocol):
    """Loads models of one kind.

    Its module is imported before it is known whether it will be needed, so it imports what is heavy only in `devices`
    and `load`. ``copies`` is how often the weights lie in memory while they are loaded.
    """

    name: str
    copies: int

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """The files of weights that it would load; none if the version is not of its kind.

        Only the names of files should be looked at, and small files: it is asked about every version.
        """
        ...

    def devices(self) -> Sequence[str]:
        """What it can load to here, best first, such as ``cuda:0`` and ``cpu``. Raises MissingExtraError."""
        ...

    @property
    def load(self) -> Callable[..., Loaded]:
        """A method ``load(model: StoredModel, request: Request, *, …) -> Loaded``.

        What follows the star are the options that users may give to `load_model`.
        """
        ...
