"""Loaders are mostly other packages': what they say and give is checked here, before anybody goes by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Final

from casmodels.errors import BrokenLoaderError
from casmodels.extras import first_line
from casmodels.loaders.loader import Loaded, Loader
from casstore.errors import StoreError

if TYPE_CHECKING:
    from casmodels.loaders.stored_model import StoredModel

_NEEDED: Final = ("name", "copies", "recognise", "devices", "load")


def fault_of(made: Any) -> str | None:
    """What keeps an object from being a loader, to be said of it; None for one that can be asked."""
    missing = [attribute for attribute in _NEEDED if not hasattr(made, attribute)]
    if missing:
        return f"it has no {' and no '.join(missing)}"
    if not isinstance(made.name, str) or not made.name:
        return f"its name is {made.name!r}, which is no text"
    if isinstance(made.copies, bool) or not isinstance(made.copies, int) or made.copies < 0:
        return f"its copies are {made.copies!r}, which is no number of them"
    for method in ("recognise", "devices", "load"):
        if not callable(getattr(made, method)):
            return f"its {method} cannot be called"
    return None


class CheckedLoader:
    """A loader that gives what `Loader` promises, or raises BrokenLoaderError; it never ends the program."""

    def __init__(self, loader: Loader) -> None:
        self.name = loader.name
        self.copies = loader.copies
        self._loader = loader

    def recognise(self, model: StoredModel) -> tuple[str, ...]:
        """Files of this model."""
        with self._asked(f"look at {model}"):
            files = _several(self._loader.recognise(model))
        for file in files:
            if not isinstance(file, str) or file not in model.sizes:
                raise self._broken(f"recognises {file!r}, which is no file of {model}")
        return files

    def devices(self) -> tuple[str, ...]:
        """At least one."""
        with self._asked("say its devices"):
            devices = _several(self._loader.devices())
        if not devices:
            raise self._broken("has no devices")
        for device in devices:
            if not isinstance(device, str):
                raise self._broken(f"says that {device!r} is a device")
        return devices

    @property
    def load(self) -> Callable[..., Loaded]:
        """As the loader's own, options and all; what it raises is left as it is."""
        load = self._loader.load

        @wraps(load)
        def checked(*arguments: Any, **options: Any) -> Loaded:
            try:
                made: Any = load(*arguments, **options)
            except SystemExit as error:
                raise self._broken("ends the program instead of loading") from error
            if not isinstance(made, Loaded):
                raise self._broken(f"gives {type(made).__name__} where a Loaded is due")
            return replace(made, close=partial(self._close, made.close))

        return checked

    def _close(self, close: Callable[[], None]) -> None:
        with self._asked("unload its model"):
            close()

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        try:
            yield
        except (StoreError, MemoryError):
            raise
        except (Exception, SystemExit) as error:
            raise self._broken(f"fails to {what}: {type(error).__name__}: {first_line(error)}") from error

    def _broken(self, what: str) -> BrokenLoaderError:
        return BrokenLoaderError(f"the loader {self.name!r} {what}", remedy="mend or remove the package that brings it")


def _several(given: Sequence[Any]) -> tuple[Any, ...]:
    """Raises TypeError for what is one text, or nothing that has parts."""
    if isinstance(given, str | bytes):
        raise TypeError(f"{given!r} is one text, not several")
    return tuple(given)
