"""What one run of the command line was told by its global options, and what the commands need because of it."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from casmodels.cli.output import Output
from casstore.errors import InvalidInputError

if TYPE_CHECKING:
    import typer

    from casmodels.config import Config
    from casmodels.library import Store
    from casmodels.progress import Progress


class UsageError(InvalidInputError):
    """The command line says something that makes no sense."""

    kind = "usage"


@dataclass(slots=True)
class Session:
    """The global options; they may stand before the command or after it, so the later ones are added."""

    store_path: Path | None = None
    json: bool = False
    quiet: bool = False
    verbosity: int = 0
    log_json: bool = False
    resumes: bool = True
    """Whether the next run goes on where one that was interrupted ended."""
    _output: Output = field(default_factory=Output)

    @classmethod
    def of(cls, context: typer.Context) -> Session:
        """The session that a command runs in."""
        session = context.find_root().obj
        if not isinstance(session, cls):
            raise TypeError("a command was called outside of a session")
        return session

    @property
    def output(self) -> Output:
        """Where the answer goes: one, as stdout gets one document; and as the options say that were read by now."""
        self._output.json, self._output.quiet, self._output.log_json = self.json, self.quiet, self.log_json
        return self._output

    def config(self) -> Config:
        """The configuration: file, environment, and what the global options say.

        Sets up the logs, as from here on there is something to log. Raises ConfigurationError.
        """
        from casmodels import config

        loaded = config.load(store=self.store_path)
        self.log_json = self.log_json or loaded.json_logs
        if self.verbosity or self.log_json or self.quiet:
            from casmodels.cli import logs

            logs.configure(verbosity=self.verbosity, as_json=self.log_json, quiet=self.quiet)
        return loaded

    def store(self) -> Store:
        """The store, to be opened by ``with``. Raises ConfigurationError."""
        from casmodels.cli.process import collect_garbage
        from casmodels.library import Store
        from casmodels.runtime.memory import tune_for_large_buffers

        collect_garbage()
        tune_for_large_buffers()
        config = self.config()
        return Store(config.store_path, config=config)

    def progress(self) -> AbstractContextManager[Progress]:
        """Who is told how long work goes on."""
        from casmodels.cli.bars import drawn_progress

        bars = not self.quiet and not self.log_json and sys.stderr.isatty()
        return drawn_progress(bars=bars, logs=bool(self.verbosity or self.log_json))
