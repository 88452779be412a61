"""What every operation of the library works with."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from casmodels.config import Config, default_view_path
from casmodels.registry import Registry
from casstore.engine import Settings
from casstore.layout import Layout
from casstore.store import Store as Engine

if TYPE_CHECKING:
    from io import RawIOBase

    from casmodels.log_files import LogFiles
    from casstore.chunkers.spans import RandomAccess, Span, SpanFinder


class Context:
    """A store's directory, the configuration, the registry; the engine is opened when it is first needed."""

    def __init__(self, config: Config, registry: Registry | None, path: Path) -> None:
        self.config = config
        self.path = path
        self._registry = registry
        self._engine: Engine | None = None
        self._finder = LateFinder()
        self.opened: WeakSet[RawIOBase] = WeakSet()

    @cached_property
    def registry(self) -> Registry:
        """The specs that are known."""
        return self._registry if self._registry is not None else Registry.from_config(self.config)

    @cached_property
    def logs(self) -> LogFiles | None:
        """The logs, where the configuration has a place for them."""
        if self.config.logs is None:
            return None
        from casmodels.log_files import LogFiles

        return LogFiles(self.config.logs)

    @property
    def exists(self) -> bool:
        """Whether there is a store yet. Raises NotAStoreError when something else is there."""
        return self._engine is not None or Layout(self.path).exists()

    def engine(self, *, create: bool = False) -> Engine:
        """The engine. Raises NotAStoreError when there is no store and none is to be made."""
        if self._engine is None:
            self._engine = self._open(self.path, create=create, workers=self.config.workers)
        return self._engine

    def existing(self) -> Engine | None:
        """The engine, or None when there is no store yet."""
        return self.engine() if self.exists else None

    @contextlib.contextmanager
    def working_engine(
        self, workers: int | None, initializer: Callable[[], object] | None, *, create: bool
    ) -> Iterator[Engine]:
        """An engine of its own threads, for a pull. Where there is no store and none is to be made, that of an empty
        one which goes again."""
        with contextlib.ExitStack() as stack:
            path = self.path
            if not create and not self.exists:
                path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="casmodels-"))) / "store"
            yield stack.enter_context(self._open(path, create=True, workers=workers, initializer=initializer))

    def _open(
        self, path: Path, *, create: bool, workers: int | None, initializer: Callable[[], object] | None = None
    ) -> Engine:
        settings = Settings(deltas=self.config.deltas)
        return Engine.open(
            path, create=create, finder=self._finder, workers=workers, initializer=initializer, settings=settings
        )

    @property
    def view_path(self) -> Path:
        """Where the store's own view lies unless the user names another."""
        return default_view_path(self.path)

    def close(self) -> None:
        """Close the engine, and before it the files that were opened from it."""
        for file in list(self.opened):
            file.close()
        if self._engine is not None:
            self._engine.close()
            self._engine = None


class LateFinder:
    """A `casmodels.formats.Finder`, which is made when the first file is put in."""

    def __init__(self) -> None:
        self._finder: SpanFinder | None = None

    def __call__(self, name: str, source: RandomAccess) -> Sequence[Span]:
        """As `casmodels.formats.Finder`."""
        if self._finder is None:
            from casmodels.formats import Finder

            self._finder = Finder()
        return self._finder(name, source)
